//! A log that somebody has been at.

use std::fs;

use serde_json::{Value, json};

use crate::harness::Setup;

/// Each way to falsify a log of six entries, and what verifying it says.
type Falsification = (&'static str, fn(&mut Vec<String>), &'static str);

const FALSIFICATIONS: [Falsification; 7] = [
    (
        "an altered reason",
        |lines| lines[2] = lines[2].replace("a test", "no test"),
        "what it says is not what was hashed",
    ),
    (
        "an altered value",
        |lines| lines[3] = lines[3].replace("\"after\":\"4\"", "\"after\":\"40\""),
        "not what was hashed",
    ),
    (
        "an altered document",
        |lines| lines[3] = lines[3].replace("percent = 4", "percent = 9"),
        "document is not the one",
    ),
    ("a removed entry", |lines| drop(lines.remove(2)), "revision 3 should stand here"),
    ("two that were swapped", |lines| lines.swap(2, 3), "revision 3 should stand here"),
    ("a removed first entry", |lines| drop(lines.remove(0)), "revision 1 should stand here"),
    ("a cut off end", |lines| lines.truncate(4), "cut off"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_falsify_the_log_is_found() {
    let setup = Setup::start();
    let gateway = &setup.gateway;
    for percent in 1..=6 {
        gateway.weight(f64::from(percent)).await;
    }
    let path = gateway.rollout_path().with_extension("log.jsonl");
    let genuine = fs::read_to_string(&path).unwrap();
    let head = gateway.document().await["hash"].as_str().unwrap().to_owned();
    assert_eq!(gateway.verification(Some(&head)).await["verified"], json!(true));
    for (what, falsify, shown) in FALSIFICATIONS {
        let mut lines: Vec<String> = genuine.lines().map(ToOwned::to_owned).collect();
        falsify(&mut lines);
        let text = lines.join("\n") + "\n";
        assert_ne!(text, genuine, "{what}");
        fs::write(&path, text).unwrap();
        let verified: Value = gateway.verification(Some(&head)).await;
        assert_eq!(verified["verified"], json!(false), "{what}: {verified}");
        assert!(verified["problem"].as_str().unwrap().contains(shown), "{what}: {verified}");
    }
    fs::write(&path, genuine).unwrap();
    assert_eq!(gateway.verification(Some(&head)).await["verified"], json!(true));
}
