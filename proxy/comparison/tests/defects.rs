//! The defects that a candidate may carry, each of which has to be found and named by its path.

use comparison::{Answer, Comparison, Kind, Masks, Outcome, Rules, compare};
use http::{HeaderMap, HeaderValue};

use crate::support::{headers, json, rules, told};

fn order(number: usize, total: &str) -> String {
    format!(
        r#"{{"id":{number},"customer":{{"name":"n{number}","tags":["a","b"]}},"total":{total},"lines":[{{"sku":"s","qty":{number}}}]}}"#
    )
}

#[test]
fn a_wrong_field_in_one_of_500_answers() {
    let rules = rules("");
    let mut found = Vec::new();
    for number in 0..500 {
        let legacy = order(number, "1.5");
        let candidate = if number == 317 { legacy.replace(r#""qty":317"#, r#""qty":318"#) } else { legacy.clone() };
        found.extend(told(&json(&rules, &Masks::none(), &legacy, &candidate)));
    }
    assert_eq!(found, ["value $.lines[0].qty 317 -> 318"]);
}

#[test]
fn a_rounding() {
    let comparison = json(&rules(""), &Masks::none(), &order(1, "19.995"), &order(1, "20.00"));
    assert_eq!(told(&comparison), ["value $.total 19.995 -> 20.00"]);
    // What a float would round away.
    let comparison = json(&rules(""), &Masks::none(), &order(1, "0.10000000000000000001"), &order(1, "0.1"));
    assert_eq!(comparison.clusters[0].0.to_string(), "value $.total");
}

fn answered(rules: &Rules, status: (u16, u16), headers: (&HeaderMap, &HeaderMap)) -> Comparison {
    let legacy = Answer { status: status.0, headers: headers.0, body: b"{}" };
    let candidate = Answer { status: status.1, headers: headers.1, body: b"{\"error\":1}" };
    compare(rules, &Masks::none(), &legacy, &candidate)
}

#[test]
fn a_missing_header() {
    let rules = rules("headers = ['location', 'vary']\nrules = [{ path = '$', rule = 'ignore' }]");
    let mut legacy = headers("application/json");
    legacy.insert("location", HeaderValue::from_static("/a"));
    legacy.append("vary", HeaderValue::from_static("a, b"));
    legacy.append("vary", HeaderValue::from_static("c"));
    let mut candidate = headers("text/plain");
    candidate.append("vary", HeaderValue::from_static("c"));
    candidate.append("vary", HeaderValue::from_static("a, b"));
    let comparison = answered(&rules, (200, 200), (&legacy, &candidate));
    assert_eq!(
        told(&comparison),
        ["missing headers['location'] /a -> nothing", "order headers['vary'] a, b | c -> c | a, b"]
    );
}

#[test]
fn a_wrong_status_is_told_without_what_follows_from_it() {
    let headers = headers("application/json");
    let comparison = answered(&rules(""), (404, 200), (&headers, &headers));
    assert_eq!(told(&comparison), ["status status 404 -> 200"]);
    let ignored = rules("rules = [{ path = 'status', rule = 'ignore' }]");
    let comparison = answered(&ignored, (404, 200), (&headers, &headers));
    assert_eq!((told(&comparison).len(), comparison.ignored), (1, 1), "then the bodies are compared");
}

#[test]
fn a_list_in_another_order_is_one_difference() {
    let comparison = json(&rules(""), &Masks::none(), r#"{"l":[{"a":1},{"a":2}]}"#, r#"{"l":[{"a":2},{"a":1}]}"#);
    assert_eq!(comparison.outcome, Outcome::Different);
    assert_eq!(comparison.differences.iter().map(|difference| difference.kind).collect::<Vec<_>>(), [Kind::Order]);
}
