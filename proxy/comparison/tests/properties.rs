//! What holds for every document.

use comparison::{Kind, Masks, Outcome, Rules, RulesConfig, Selector};
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::support::{json, typed};

fn any_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9_f64..1e9).prop_map(Value::from),
        "[a-c'\\\\\" .é]{0,4}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-d' é.]{1,3}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// The same document with the members of every object in reverse order, and other spaces.
fn permuted(value: &Value) -> String {
    match value {
        Value::Array(elements) => {
            format!("[ {} ]", elements.iter().map(permuted).collect::<Vec<_>>().join(" ,\n"))
        }
        Value::Object(members) => {
            let member =
                |(name, value): (&String, &Value)| format!("{}: {}", Value::from(name.as_str()), permuted(value));
            format!("{{{}}}", members.iter().rev().map(member).collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// Changes the `nth` scalar to something it never was; its place as JSON pointer parts.
fn mutate(value: &mut Value, nth: &mut usize, path: &mut Vec<String>) -> bool {
    match value {
        Value::Array(elements) => elements.iter_mut().enumerate().any(|(index, element)| {
            path.push(format!("[{index}]"));
            let done = mutate(element, nth, path);
            if !done {
                path.pop();
            }
            done
        }),
        Value::Object(members) => members.iter_mut().any(|(name, member)| {
            path.push(format!("['{}']", name.replace('\\', "\\\\").replace('\'', "\\'")));
            let done = mutate(member, nth, path);
            if !done {
                path.pop();
            }
            done
        }),
        scalar => {
            if *nth > 0 {
                *nth -= 1;
                return false;
            }
            *scalar = Value::from("a value that no document has");
            true
        }
    }
}

fn plain() -> Rules {
    Rules::compile(&RulesConfig::default()).expect("the defaults are good")
}

fn swapped(kind: Kind) -> Kind {
    match kind {
        Kind::Missing => Kind::Unexpected,
        Kind::Unexpected => Kind::Missing,
        kind => kind,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_document_equals_itself_in_any_writing(value in any_json()) {
        let comparison = json(&plain(), &Masks::none(), &value.to_string(), &permuted(&value));
        prop_assert_eq!(comparison.outcome, Outcome::Equal);
    }

    #[test]
    fn a_single_change_is_found_at_its_path(value in any_json(), nth in 0_usize..20) {
        let (mut changed, mut path) = (value.clone(), Vec::new());
        if mutate(&mut changed, &mut nth.clone(), &mut path) {
            let comparison = json(&plain(), &Masks::none(), &value.to_string(), &permuted(&changed));
            prop_assert_eq!(comparison.differences.len(), 1);
            let difference = &comparison.differences[0];
            prop_assert!(matches!(difference.kind, Kind::Value | Kind::Type));
            let path = format!("${}", path.concat());
            // The same place, in the selector's reading of both texts: a rule for the one covers the other.
            let ignoring = plain().ignoring(Selector::parse(difference.path.as_str()).unwrap());
            prop_assert_eq!(json(&ignoring, &Masks::none(), &value.to_string(), &changed.to_string()).outcome, Outcome::Ignored);
            let ignoring = plain().ignoring(Selector::parse(&path).unwrap());
            prop_assert_eq!(json(&ignoring, &Masks::none(), &value.to_string(), &changed.to_string()).outcome, Outcome::Ignored);
        }
    }

    #[test]
    fn the_sides_can_be_exchanged(one in any_json(), two in any_json()) {
        let forth = json(&plain(), &Masks::none(), &one.to_string(), &two.to_string());
        let back = json(&plain(), &Masks::none(), &two.to_string(), &one.to_string());
        prop_assert_eq!(forth.outcome, back.outcome);
        let clusters = |comparison: &comparison::Comparison, swap: bool| {
            let kind = |kind| if swap { swapped(kind) } else { kind };
            let mut clusters: Vec<_> = comparison.clusters.iter().map(|(cluster, count)| (cluster.path.clone(), kind(cluster.kind), *count)).collect();
            clusters.sort();
            clusters
        };
        prop_assert_eq!(clusters(&forth, false), clusters(&back, true));
    }

    #[test]
    fn a_set_equals_itself_in_any_order(mut values in prop::collection::vec(any_json(), 0..12)) {
        let rules = crate::support::rules("rules = [{ path = '$', rule = 'set' }]");
        let text = Value::from(values.clone()).to_string();
        values.reverse();
        let third = values.len() / 3;
        values.rotate_left(third);
        prop_assert_eq!(json(&rules, &Masks::none(), &text, &permuted(&Value::from(values))).outcome, Outcome::Equal);
    }

    #[test]
    fn bytes_are_compared_without_a_panic(one in any::<Vec<u8>>(), two in any::<Vec<u8>>(), text in any::<bool>()) {
        let content_type = if text { "text/plain" } else { "application/json" };
        let comparison = typed(content_type, &plain(), &Masks::none(), &one, &two);
        prop_assert_eq!(comparison.outcome == Outcome::Equal, one == two || comparison.differences.is_empty());
    }

    #[test]
    fn what_is_no_path_is_refused_without_a_panic(text in "[$.\\[\\]'\\\\*a-c0-9 u]{0,20}") {
        let _ = Selector::parse(&text);
    }
}
