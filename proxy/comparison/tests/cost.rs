//! Answers made to be expensive.

use comparison::{Masks, Outcome};

use crate::support::{json, rules, typed};

/// Each of these has an end that is counted, whatever the machine does meanwhile.
#[test]
fn hostile_answers_cost_a_bounded_number_of_steps() {
    let set =
        rules("limits = { steps = 200000 }\nrules = [{ path = '$..a', rule = 'set' }, { path = '$', rule = 'set' }]");
    let list = rules("limits = { steps = 200000 }");
    let nested = |leaf: &str| {
        (0..50).fold(leaf.to_owned(), |inner, _| format!(r#"{{"a":[{inner},{inner_copy}]}}"#, inner_copy = "1"))
    };
    let wide =
        |from: usize| format!("[{}]", (from..from + 20_000).map(|i| i.to_string()).collect::<Vec<_>>().join(","));
    let similar = |last: usize| {
        let element = |i: usize| format!(r#"{{"x":[1,2,3,4,5,6,7,8],"y":{{"z":{}}}}}"#, i * 2 + last);
        format!("[{}]", (0..2_000).map(element).collect::<Vec<_>>().join(","))
    };
    for rules in [&set, &list] {
        for (legacy, candidate) in [
            (nested("1"), nested("2")),
            (wide(0), wide(10_000)),
            (similar(0), similar(1)),
            (format!("[{},9]", wide(0)), format!("[8,{}]", wide(0))),
        ] {
            assert_ne!(json(rules, &Masks::none(), &legacy, &candidate).outcome, Outcome::Equal);
        }
    }
}

#[test]
fn too_much_work_is_said() {
    let rules = rules("limits = { steps = 100 }");
    let list = |last: u32| format!("[{},{last}]", vec!["1"; 1_000].join(","));
    assert!(matches!(json(&rules, &Masks::none(), &list(1), &list(2)).outcome, Outcome::NotCompared(_)));
}

#[test]
fn bytes_of_any_kind_are_compared() {
    let rules = rules("");
    for content_type in ["application/json", "text/plain", "image/png"] {
        for body in [&b"\0"[..], b"\xff\xfe", b"{", b"[[[[", b"\"\\ud800\"", b"\xef\xbb\xbf{}"] {
            assert_eq!(typed(content_type, &rules, &Masks::none(), body, body).outcome, Outcome::Equal);
            assert_ne!(typed(content_type, &rules, &Masks::none(), body, b"{\"a\":1}").outcome, Outcome::Equal);
        }
    }
}
