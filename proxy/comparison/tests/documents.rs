//! Bodies, and what of them counts.

use comparison::{Kind, Masks, Obstacle, Outcome};

use crate::support::{json, rules, told, typed};

#[test]
fn what_means_the_same_is_equal() {
    let rules = rules("");
    for (legacy, candidate) in [
        (r#"{"a":1,"b":[1,2]}"#, " { \"b\" : [ 1.0, 2e0 ],\n\"a\":1.00 } "),
        (r#"{"a":"\u00e4\/"}"#, r#"{"a":"ä/"}"#),
        (r#"{"a":1,"b":2,"a":3}"#, r#"{"b":2,"a":1,"a":3}"#),
        ("123456789012345678901234567890", "1.2345678901234567890123456789e29"),
        ("", ""),
        ("not json", "not json"),
    ] {
        assert_eq!(json(&rules, &Masks::none(), legacy, candidate).outcome, Outcome::Equal, "{legacy} {candidate}");
    }
}

#[test]
fn what_differs_is_named_by_path_and_kind() {
    let rules = rules("");
    for (legacy, candidate, expected) in [
        (r#"{"a":{"b c":[1,2]}}"#, r#"{"a":{"b c":[1,3]}}"#, &["value $.a['b c'][1] 2 -> 3"][..]),
        (r#"{"a":1,"b":1}"#, r#"{"b":1,"c":2}"#, &["missing $.a 1 -> nothing", "unexpected $.c nothing -> 2"]),
        (r#"{"a":1}"#, r#"{"a":"1"}"#, &[r#"type $.a 1 -> "1""#]),
        (r#"{"a":null}"#, "{}", &["missing $.a null -> nothing"]),
        (r#"{"a":[]}"#, r#"{"a":{}}"#, &["type $.a [] -> {}"]),
        ("9007199254740993", "9007199254740992", &["value $ 9007199254740993 -> 9007199254740992"]),
        // A parser may take the first or the last of two members; both have to be the same.
        (r#"{"a":1,"a":3}"#, r#"{"a":3}"#, &["value $.a 1 -> 3", "missing $.a 3 -> nothing"]),
        ("[1,2,3]", "[3,1,2]", &["order $ 1 -> 3"]),
        ("[1,2,3,4]", "[1,3,4]", &["missing $[1] 2 -> nothing"]),
        ("[1,2]", "[0,1,2]", &["unexpected $[0] nothing -> 0"]),
        (
            r#"[{"i":1,"v":1},{"i":2,"v":1},{"i":3,"v":1}]"#,
            r#"[{"i":1,"v":1},{"i":3,"v":2}]"#,
            &["value $[1].i 2 -> 3", "value $[1].v 1 -> 2", r#"missing $[2] {"i":3,"v":1} -> nothing"#],
        ),
    ] {
        assert_eq!(told(&json(&rules, &Masks::none(), legacy, candidate)), expected, "{legacy} {candidate}");
    }
}

#[test]
fn bodies_of_different_sorts_differ_as_a_whole() {
    let rules = rules("redact.keep_text = true");
    let kinds = |legacy: &[u8], candidate: &[u8]| {
        let comparison = typed("application/json", &rules, &Masks::none(), legacy, candidate);
        comparison.differences.iter().map(|difference| difference.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(b"{}", b""), [Kind::Missing]);
    assert_eq!(kinds(b"", b"{}"), [Kind::Unexpected]);
    assert_eq!(kinds(b"{}", b"<html>"), [Kind::Type]);
    assert_eq!(kinds(b"{}", b"\xff"), [Kind::Type]);
    assert_eq!(kinds(b"\xfe", b"\xff"), [Kind::Value]);
    let text = typed("text/plain", &rules, &Masks::none(), b"one two three", b"one too three");
    assert_eq!(told(&text), ["value $ one two three -> one too three"]);
    let unkept = typed("text/plain", &crate::support::rules(""), &Masks::none(), b"one", b"two");
    assert!(told(&unkept)[0].contains("3 bytes, blake3") && !told(&unkept)[0].contains("one"), "{unkept:?}");
}

#[test]
fn what_is_over_the_limits_is_different_from_what_is_within_them() {
    let rules = rules("limits = { depth = 4, values = 20 }");
    let compared = |legacy: &str, candidate: &str| json(&rules, &Masks::none(), legacy, candidate);
    assert_eq!(told(&compared("[1]", "[[[[[]]]]]")), ["too_complex $ within the limits -> over the limits"]);
    let many = format!("[{}]", vec!["1"; 30].join(","));
    assert_eq!(compared(&many, "[[[[[]]]]]").outcome, Outcome::NotCompared(Obstacle::OverLimits));
    assert_eq!(compared(&many, &many).outcome, Outcome::Equal, "the same bytes are the same");
    let broken = format!("{many}]");
    assert_ne!(compared("[1]", &broken).outcome, Outcome::Equal);
}

#[test]
fn differences_are_bounded_in_number_and_length() {
    let rules = rules("limits = { differences = 8, value_bytes = 32 }");
    let list =
        |value: &str| format!("{{{}}}", (0..500).map(|i| format!("\"m{i}\":{value}")).collect::<Vec<_>>().join(","));
    let long = format!("\"{}\"", "ü".repeat(1_000));
    let comparison = json(&rules, &Masks::none(), &list("1"), &list(&long));
    assert_eq!((comparison.differences.len(), comparison.clusters.len()), (8, 8));
    assert!(comparison.differences.iter().all(|difference| difference.candidate.as_ref().unwrap().len() < 40));
    // Many of one cluster are counted, and a few are kept.
    let many = |value: u32| {
        format!("[{}]", (0..100).map(|i| format!("{{\"i\":{i},\"v\":{value}}}")).collect::<Vec<_>>().join(","))
    };
    let comparison = json(&rules, &Masks::none(), &many(1), &many(2));
    assert_eq!(comparison.clusters.len(), 1);
    assert_eq!((comparison.clusters[0].0.to_string().as_str(), comparison.clusters[0].1), ("value $[*].v", 100));
    assert_eq!(comparison.differences.len(), 4);
}

#[test]
fn secrets_are_in_no_difference() {
    let rules = rules("headers = ['authorization']\nredact.paths = ['$.user.email']");
    let body = |secret: &str| {
        format!(r#"{{"user":{{"email":"{secret}"}},"password":"{secret}","gone":{{"token":"{secret}"}}}}"#)
    };
    let mut candidate = body("MARK2");
    candidate = candidate.replace("gone", "came");
    let comparison = json(&rules, &Masks::none(), &body("MARK1"), &candidate);
    assert_eq!(comparison.differences.len(), 4, "{comparison:?}");
    assert!(!format!("{comparison:?}").contains("MARK"), "{comparison:?}");
}
