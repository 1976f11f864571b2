use proptest::prelude::*;

use super::*;
use crate::route_table::{KeySource, Route, RouteId, RouteTable, Sides, UpstreamId};

fn table() -> RouteTable {
    let route = |name: &str, sides| Route {
        name: name.to_owned(),
        methods: Vec::new(),
        template: format!("/{name}").parse().expect("a good template"),
        key: KeySource::Request,
        key_text: "request".to_owned(),
        sides,
        salt: name.to_owned(),
    };
    let both = Sides::Both { legacy: UpstreamId(0), candidate: UpstreamId(1), fallback: true };
    RouteTable::new(vec![route("invoke", both), route("list", both), route("old", Sides::Legacy(UpstreamId(0)))])
        .expect("three different routes")
}

fn parse(text: &str) -> Result<RolloutDocument, String> {
    RolloutDocument::parse("rollout.toml", text, &table(), |_| Some(5)).map_err(|problems| problems.summary())
}

fn weight(percent: f64) -> Weight {
    Weight::from_percent(percent).expect("a good percentage")
}

#[test]
fn a_document_says_what_it_says() {
    let document = parse("[routes.invoke]\npercent = 12.5\nepoch = 7\n[routes.list]\npercent = 100\n").expect("valid");
    assert_eq!(document.get(RouteId(0)), Some(Entry { weight: weight(12.5), epoch: Some(7) }));
    assert_eq!(document.get(RouteId(1)), Some(Entry { weight: Weight::ALL, epoch: None }));
    assert_eq!(document.get(RouteId(2)), None);
    assert_eq!(parse(""), Ok(RolloutDocument::default()));
}

#[test]
fn every_problem_names_its_line_and_its_fix() {
    for (text, expected) in [
        ("[routes.invoke]\npercent = 101", "rollout.toml:2:11: `routes.invoke.percent`"),
        ("[routes.invoke]\npercent = -1", "a share is from 0 to 100 percent"),
        ("[routes.invoke]\npercent = 0.005", "at most two decimals"),
        ("[routes.invoke]\npercent = nan", "a share is from 0 to 100 percent"),
        ("[routes.invoke]\n", "required and not set"),
        ("[routes.invoke]\npercent = \"a lot\"", "rollout.toml:2:11"),
        ("[routes.invoke]\npercent = 1\nspeed = 2", "rollout.toml:3:1"),
        ("\n\n[routes.invok]\npercent = 1", "routes that can move: invoke, list"),
        ("[routes.old]\npercent = 1", "one side only"),
        ("[routes.invoke]\npercent = 1\nepoch = 4", "it predates a rollback"),
        ("[routes.invoke]\npercent = 1\nepoch = -1", "rollout.toml:3:9"),
        ("[routes.invoke\npercent = 1", "rollout.toml:1:"),
    ] {
        let problems = parse(text).expect_err(text);
        assert!(problems.contains(expected), "{text:?} gave {problems}");
    }
    let both = parse("[routes.invoke]\npercent = 101\n[routes.lost]\npercent = 1").expect_err("two problems");
    assert!(both.contains("101") && both.contains("lost"), "{both}");
}

#[test]
fn an_edit_keeps_what_a_person_wrote() {
    let text = "# owned by team blue\n\n[routes.list]   # later\npercent = 0\n\n[routes.invoke]\npercent = 10        \
                # since Monday\nepoch = 3           # bumped by a rollback\n# the end\n";
    let mut document = DocumentText::parse(text).expect("valid TOML");
    document.set("invoke", weight(12.5), 4);
    let expected = text.replace("percent = 10  ", "percent = 12.5  ").replace("epoch = 3", "epoch = 4");
    assert_eq!(document.to_string(), expected);
}

#[test]
fn an_edit_makes_what_is_missing() {
    for (text, expected) in [
        ("", "[routes.invoke]\npercent = 10\nepoch = 1\n"),
        (
            "# mine\n[routes.list]\npercent = 5\n",
            "# mine\n[routes.list]\npercent = 5\n\n[routes.invoke]\npercent = 10\nepoch = 1\n",
        ),
        ("routes.invoke.percent = 5\n", "routes.invoke.percent = 10\nroutes.invoke.epoch = 1\n"),
        ("routes = { invoke = { percent = 5 } }\n", "routes = { invoke = { percent = 10 , epoch = 1 } }\n"),
    ] {
        let mut document = DocumentText::parse(text).expect("valid TOML");
        document.set("invoke", weight(10.0), 1);
        let edited = document.to_string();
        let read = parse(&edited.replace("epoch = 1", "epoch = 5")).expect("an edit leaves it valid");
        assert_eq!(read.get(RouteId(0)).map(|entry| entry.weight), Some(weight(10.0)), "{edited}");
        assert_eq!(edited, expected);
    }
}

proptest! {
    #[test]
    fn what_is_set_is_read_back(
        edits in prop::collection::vec((prop::bool::ANY, 0..=10_000_u16, 5..1_000_u64), 1..12),
        comment in "[ -~]{0,40}",
    ) {
        let start = format!("# {comment}\n[routes.invoke] # {comment}\npercent = 1 # {comment}\n");
        let mut text = start;
        let mut expected = std::collections::BTreeMap::new();
        for (first, points, epoch) in edits {
            let (id, name) = if first { (RouteId(0), "invoke") } else { (RouteId(1), "list") };
            let weight = weight(f64::from(points) / 100.0);
            let mut document = DocumentText::parse(&text).expect("valid before the edit");
            document.set(name, weight, epoch);
            text = document.to_string();
            expected.insert(id, Entry { weight, epoch: Some(epoch) });
        }
        let document = parse(&text).expect("valid after every edit");
        for (id, entry) in expected {
            prop_assert_eq!(document.get(id), Some(entry));
        }
        prop_assert_eq!(text.matches(&format!("# {comment}")).count() % 3, 0, "{}", text);
    }
}
