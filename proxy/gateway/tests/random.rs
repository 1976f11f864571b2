//! The properties on random bytes, and on the fuzz targets' seeds.

use std::{fs, path::Path};

use proptest::prelude::*;

use crate::properties;

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn a_table_finds_what_trying_every_route_finds(bytes in bytes(800)) {
        properties::route_matching(&bytes);
    }

    #[test]
    fn every_program_reads_an_accepted_path_alike(path in "(/([ab.;%\\\\]|%2[ef5]|%5c|%3b|%[cC]3%[aA]9|%[0-9a-f]{1,2}){0,6}){0,5}") {
        properties::path_reading(path.as_bytes());
    }

    #[test]
    fn a_key_is_what_another_reading_gives(text in r#"(\{"(function_id|a)":("x"|7|7\.5|-0\.0|true|null|\{"b":1(,"b":2)?\}|\[1,\{"function_id":2\}\])(,"a":\{"b":"y"\})?\}?|(sid|x)="?[ab=]{0,2}"?[; \n]{1,3}){0,4}"#) {
        properties::key_extraction(text.as_bytes());
    }

    #[test]
    fn a_document_survives_its_edits(text in r#"(\[(routes\.(invoke|list)(\.pins)?|limits\.per-key(\.overrides)?)\]\n((percent = (1|2\.5|101)|epoch = 3|rate = "5/s"|burst = 2|k = ("legacy"|"candidate"|\{ rate = "1/s" \})|# c)\n){0,3}){0,4}"#) {
        properties::rollout_document(text.as_bytes());
    }
}

#[test]
fn the_seeds_hold() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    type Property = fn(&[u8]);
    let targets: [(&str, Property); 4] = [
        ("route_matching", properties::route_matching),
        ("path_reading", properties::path_reading),
        ("key_extraction", properties::key_extraction),
        ("rollout_document", properties::rollout_document),
    ];
    for (target, property) in targets {
        let files: Vec<_> = fs::read_dir(seeds.join(target)).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{target} has seeds");
        files.iter().for_each(|file| property(&fs::read(file).unwrap()));
    }
}
