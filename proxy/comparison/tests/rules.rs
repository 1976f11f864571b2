//! Rules, each with what it must not hide.

use comparison::{Masks, Outcome, Rules, RulesConfig};

use crate::support::{json, rules, told};

fn found(rules_text: &str, legacy: &str, candidate: &str) -> Vec<String> {
    told(&json(&rules(rules_text), &Masks::none(), legacy, candidate))
}

#[test]
fn an_ignored_place_hides_what_is_in_it_and_no_neighbour() {
    let rule = r#"rules = [{ path = "$.items[*].meta", rule = "ignore" }]"#;
    let legacy = r#"{"items":[{"meta":{"at":1},"v":1}],"meta":1}"#;
    let candidate = r#"{"items":[{"meta":{"at":2,"x":1},"v":2}],"meta":2}"#;
    assert_eq!(found(rule, legacy, candidate), ["value $.items[0].v 1 -> 2", "value $.meta 1 -> 2"]);
    let only = json(&rules(rule), &Masks::none(), r#"{"items":[{"meta":1}]}"#, r#"{"items":[{}]}"#);
    assert_eq!((only.outcome, only.ignored), (Outcome::Ignored, 1));
}

#[test]
fn a_pattern_has_to_match_on_both_sides() {
    let rule = r#"rules = [{ path = "$..id", rule = "pattern", pattern = "uuid" }, { path = "$.ref", rule = "pattern", regex = "r-[0-9]+" }]"#;
    let (one, two) = ("0191f1a0-7c3e-7b00-8000-000000000001", "0191f1a0-7c3e-7b00-8000-000000000002");
    let body = |id: &str, reference: &str| format!(r#"{{"a":{{"id":"{id}"}},"ref":"{reference}"}}"#);
    assert!(found(rule, &body(one, "r-1"), &body(two, "r-22")).is_empty());
    assert_eq!(found(rule, &body(one, "r-1"), &body("nothing", "r-1")).len(), 1);
    assert_eq!(found(rule, &body(one, "r-1"), &body(two, "r-1x")), [r#"value $.ref "r-1" -> "r-1x""#]);
    assert_eq!(found(rule, &body(one, "r-1"), r#"{"a":{"id":null},"ref":"r-1"}"#).len(), 1);
}

#[test]
fn a_tolerance_is_absolute_or_relative() {
    let rule = r#"rules = [{ path = "$.a", rule = "tolerance", absolute = 0.1 }, { path = "$.r", rule = "tolerance", relative = 0.01 }]"#;
    for (legacy, candidate, differences) in [
        (r#"{"a":0.2,"r":100}"#, r#"{"a":0.3,"r":101}"#, 0),
        (r#"{"a":0.2}"#, r#"{"a":0.31}"#, 1),
        (r#"{"r":100}"#, r#"{"r":102}"#, 1),
        (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#, 1),
        (r#"{"a":1}"#, r#"{"a":"1"}"#, 1),
        (r#"{"b":1}"#, r#"{"b":1.01}"#, 1),
        (r#"{"r":1e999}"#, r#"{"r":-1e999}"#, 1),
    ] {
        assert_eq!(found(rule, legacy, candidate).len(), differences, "{legacy} {candidate}");
    }
}

#[test]
fn a_set_has_its_elements_in_any_order_and_each_as_often() {
    let rule = r#"rules = [{ path = "$", rule = "set" }, { path = "$[*].at", rule = "ignore" }, { path = "$[*].n", rule = "tolerance", absolute = 0.5 }]"#;
    assert!(found(rule, r#"[1,"a",{"b":[1]}]"#, r#"[{"b":[1.0]},1,"a"]"#).is_empty());
    assert_eq!(found(rule, "[1,1,2]", "[1,2,2]"), ["missing $[1] 1 -> nothing", "unexpected $[2] nothing -> 2"]);
    let with = |pairs: &[(u32, f64)]| {
        let elements = pairs.iter().map(|(at, n)| format!(r#"{{"at":{at},"n":{n}}}"#));
        format!("[{}]", elements.collect::<Vec<_>>().join(","))
    };
    // By greed 1.0 would take 1.4 and leave 1.6 without a partner.
    assert!(found(rule, &with(&[(1, 1.0), (2, 1.8)]), &with(&[(8, 1.4), (9, 0.6)])).is_empty());
    let named = |values: &[(&str, u32)]| {
        let elements = values.iter().map(|(id, v)| format!(r#"{{"id":"{id}","v":{v},"w":1}}"#));
        format!("[{}]", elements.collect::<Vec<_>>().join(","))
    };
    let (legacy, candidate) = (named(&[("a", 1), ("b", 2), ("c", 3)]), named(&[("c", 3), ("a", 9), ("b", 2)]));
    assert_eq!(found(rule, &legacy, &candidate), ["value $[0].v 1 -> 9"]);
}

#[test]
fn a_large_set_with_noise_in_every_element_is_matched() {
    let rule = r#"rules = [{ path = "$", rule = "set" }, { path = "$[*].at", rule = "ignore" }]"#;
    let elements = |reversed: bool, wrong: usize| {
        let element = |i: usize| {
            format!(r#"{{"id":{i},"at":{},"v":{}}}"#, i + usize::from(reversed), i * 2 + usize::from(i == wrong))
        };
        let mut elements: Vec<String> = (0..500).map(element).collect();
        if reversed {
            elements.reverse();
        }
        format!("[{}]", elements.join(","))
    };
    assert!(found(rule, &elements(false, 999), &elements(true, 999)).is_empty());
    assert_eq!(found(rule, &elements(false, 999), &elements(true, 250)), ["value $[250].v 500 -> 501"]);
}

#[test]
fn a_shape_is_types_and_names() {
    let rule = r#"rules = [{ path = "$.s", rule = "shape" }]"#;
    assert!(found(rule, r#"{"s":{"a":1,"l":[{"x":1}]}}"#, r#"{"s":{"l":[{"x":2},{"x":3}],"a":7}}"#).is_empty());
    assert!(found(rule, r#"{"s":[]}"#, r#"{"s":[1]}"#).is_empty());
    assert_eq!(found(rule, r#"{"s":{"a":1}}"#, r#"{"s":{"a":"1"}}"#).len(), 1);
    assert_eq!(found(rule, r#"{"s":{"a":1}}"#, r#"{"s":{}}"#).len(), 1);
    assert_eq!(found(rule, r#"{"s":[{"x":1}]}"#, r#"{"s":[{"x":1},{"y":1}]}"#).len(), 2);
    assert_eq!(found(rule, r#"{"s":1,"t":1}"#, r#"{"s":2,"t":2}"#), ["value $.t 1 -> 2"]);
}

#[test]
fn a_renamed_member_is_the_same_member() {
    let rule = r#"rules = [{ path = "$.items[*].functionId", rule = "rename", to = "function_id" }]"#;
    let legacy = r#"{"items":[{"functionId":1,"z":1}]}"#;
    assert!(found(rule, legacy, r#"{"items":[{"z":1,"function_id":1}]}"#).is_empty());
    assert_eq!(found(rule, legacy, r#"{"items":[{"function_id":2,"z":1}]}"#), ["value $.items[0].functionId 1 -> 2"]);
    assert_eq!(found(rule, legacy, r#"{"items":[{"function_id":1,"functionId":1,"z":1}]}"#).len(), 1);
    assert_eq!(found(rule, r#"{"functionId":1}"#, r#"{"function_id":1}"#).len(), 2, "elsewhere it is another");
}

#[test]
fn every_bad_rule_is_told_with_its_key_and_its_fix() {
    let text = r#"
        headers = ["content-type", "no header"]
        redact = { paths = ["x"], names = ["_"] }
        limits = { depth = 0 }
        rules = [
            { path = "x", rule = "ignore" },
            { path = "$.a", rule = "pattern" },
            { path = "$.a", rule = "pattern", pattern = "guid" },
            { path = "$.a", rule = "pattern", regex = "(" },
            { path = "$.a", rule = "tolerance" },
            { path = "$.a", rule = "tolerance", absolute = -1.0 },
            { path = "$.a", rule = "rename" },
            { path = "$.a[*]", rule = "rename", to = "b" },
            { path = "status", rule = "set" },
            { path = "$.a", rule = "ignore", to = "b" },
        ]"#;
    let problems = Rules::compile(&toml::from_str::<RulesConfig>(text).unwrap()).unwrap_err();
    let mut keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    keys.sort_unstable();
    let expected = [
        "headers[1]",
        "limits.depth",
        "redact.names[0]",
        "redact.paths[0]",
        "rules[0].path",
        "rules[1].rule",
        "rules[2].pattern",
        "rules[3].regex",
        "rules[4].rule",
        "rules[5].absolute",
        "rules[6].rule",
        "rules[7].path",
        "rules[8].path",
        "rules[9].to",
    ];
    assert_eq!(keys, expected);
    assert!(problems.iter().all(|problem| !problem.message.is_empty() && !problem.fix.is_empty()));
}
