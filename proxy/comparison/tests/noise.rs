//! What legacy answers differently from itself, and what that must not hide.

use std::time::{Duration, SystemTime};

use comparison::{Answer, Kind, Masks, NoiseLearner, NoiseSettings, Outcome, Rules};

use crate::support::{headers, json, rules, told};

const HOUR: Duration = Duration::from_secs(3_600);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn observe(learner: &mut NoiseLearner, rules: &Rules, first: &str, again: &str, now: SystemTime) {
    let headers = headers("application/json");
    let answer = |body: &'static [u8]| Answer { status: 200, headers: &headers, body };
    let leaked = |text: &str| -> &'static [u8] { Box::leak(text.to_owned().into_bytes().into_boxed_slice()) };
    learner.observe(rules, &answer(leaked(first)), &answer(leaked(again)), now);
}

/// An answer with an id and times of its own, as every call makes them.
fn answer(call: u32, price: u32) -> String {
    format!(
        r#"{{"request_id":"id-{call}","price":{price},"currency":"EUR","items":[{{"at":"12:{call}","name":"x","sku":"s"}},{{"at":"13:{call}","name":"y","sku":"t"}}]}}"#
    )
}

fn learnt(pairs: u32, rules: &Rules) -> NoiseLearner {
    let mut learner = NoiseLearner::new(NoiseSettings::default());
    for pair in 0..pairs {
        observe(&mut learner, rules, &answer(pair * 2, pair), &answer(pair * 2 + 1, pair), start());
    }
    learner
}

#[test]
fn a_candidate_that_is_equal_but_for_ids_and_times_shows_nothing_after_learning() {
    let rules = rules("");
    let before = json(&rules, &Masks::none(), &answer(1, 5), &answer(2, 5));
    assert_eq!(before.clusters.len(), 2, "{before:?}");
    let masks = learnt(30, &rules).masks(start());
    for call in 0..500 {
        let comparison = json(&rules, &masks, &answer(call, call), &answer(call + 1_000, call));
        assert_eq!(comparison.outcome, Outcome::Ignored, "{comparison:?}");
        assert_eq!(comparison.masked.len(), 2);
    }
    let told: Vec<String> = masks.applied().iter().map(|mask| mask.cluster.to_string()).collect();
    assert_eq!(told, ["value $.items[*].at", "value $.request_id"]);
    let mask = &masks.applied()[0];
    assert_eq!((mask.seen, mask.noisy, mask.since, mask.until), (30, 30, start(), start() + HOUR));
    assert!(mask.rate_at_least > 0.85);
}

#[test]
fn a_defect_beside_a_noisy_field_is_found() {
    let rules = rules("");
    let masks = learnt(30, &rules).masks(start());
    let candidate = answer(2, 5).replace(r#""name":"y""#, r#""name":"z""#);
    assert_eq!(told(&json(&rules, &masks, &answer(1, 5), &candidate)), [r#"value $.items[1].name "y" -> "z""#]);
}

#[test]
fn noise_in_a_value_hides_neither_a_missing_field_nor_another_type() {
    let rules = rules("");
    let masks = learnt(30, &rules).masks(start());
    let missing = answer(2, 5).replace(r#""request_id":"id-2","#, "");
    assert_eq!(told(&json(&rules, &masks, &answer(1, 5), &missing)), [r#"missing $.request_id "id-1" -> nothing"#]);
    let typed = answer(2, 5).replace(r#""id-2""#, "7");
    assert_eq!(told(&json(&rules, &masks, &answer(1, 5), &typed)), [r#"type $.request_id "id-1" -> 7"#]);
}

#[test]
fn little_is_not_enough_and_seldom_is_not_noise() {
    let rules = rules("");
    assert!(learnt(19, &rules).masks(start()).applied().is_empty());
    let mut learner = NoiseLearner::new(NoiseSettings::default());
    for pair in 0..400 {
        // A write came between the two requests, once in forty.
        let again = if pair % 40 == 0 { 8 } else { 7 };
        observe(&mut learner, &rules, r#"{"a":7,"b":1,"c":1}"#, &format!(r#"{{"a":{again},"b":1,"c":1}}"#), start());
    }
    assert!(learner.masks(start()).applied().is_empty());
}

#[test]
fn a_mask_ends_when_legacy_has_stopped() {
    let rules = rules("");
    let mut learner = learnt(30, &rules);
    let before = start() + HOUR - Duration::from_secs(1);
    assert_eq!(learner.masks(before).applied().len(), 2);
    assert!(learner.masks(start() + HOUR).applied().is_empty());
    observe(&mut learner, &rules, &answer(1, 1), &answer(2, 1), before);
    let masks = learner.masks(start() + HOUR);
    assert_eq!(masks.applied().len(), 2);
    assert_eq!((masks.applied()[0].since, masks.applied()[0].until), (start(), before + HOUR));
}

#[test]
fn masks_hide_no_more_of_an_answer_than_the_cap_allows() {
    let rules = rules("headers = []");
    let mut learner = NoiseLearner::new(NoiseSettings { most_masked: 0.4, ..NoiseSettings::default() });
    let body = |call: u32| {
        let member = |(index, name): (u32, &str)| {
            // The later a member, the more seldom it is noisy.
            format!(r#""{name}":{}"#, if call.is_multiple_of(index + 2) { call } else { 0 })
        };
        format!("{{{}}}", (0..).zip(["a", "b", "c", "d", "e"]).map(member).collect::<Vec<_>>().join(","))
    };
    for call in 1..400 {
        observe(&mut learner, &rules, &body(1), &body(call), start());
    }
    let masks = learner.masks(start());
    assert_eq!((masks.applied().len(), masks.over_cap().len()), (2, 3), "{masks:?}");
    let surest: Vec<&str> = masks.applied().iter().map(|mask| mask.cluster.path.as_ref()).collect();
    assert_eq!(surest, ["$.a", "$.b"]);
    // An answer of two fields of which both are masked keeps one of them.
    let [one, two] = [surest[0], surest[1]].map(|path| path.trim_start_matches("$.").to_owned());
    let small = |value: u32| format!(r#"{{"{one}":{value},"{two}":{value}}}"#);
    let comparison = json(&rules, &masks, &small(1), &small(2));
    assert_eq!((comparison.outcome, comparison.masked.len(), comparison.over_cap.len()), (Outcome::Different, 1, 1));
    assert_eq!(comparison.over_cap[0].path.as_ref(), format!("$.{two}"));
}

#[test]
fn an_order_that_is_noise_makes_a_list_a_set() {
    let rules = rules("");
    let mut learner = NoiseLearner::new(NoiseSettings::default());
    for _ in 0..30 {
        observe(&mut learner, &rules, r#"{"l":["a","b","c"],"n":1}"#, r#"{"l":["c","a","b"],"n":1}"#, start());
    }
    let masks = learner.masks(start());
    assert_eq!(masks.applied()[0].cluster.kind, Kind::Order);
    let found = |candidate: &str| told(&json(&rules, &masks, r#"{"l":["a","b","c"],"n":1}"#, candidate));
    assert!(found(r#"{"l":["b","c","a"],"n":1}"#).is_empty());
    assert_eq!(
        found(r#"{"l":["b","d","a"],"n":1}"#),
        [r#"missing $.l[2] "c" -> nothing"#, r#"unexpected $.l[1] nothing -> "d""#]
    );
}

#[test]
fn the_learner_is_bounded() {
    let rules = rules("");
    let mut learner = NoiseLearner::new(NoiseSettings { max_paths: 50, ..NoiseSettings::default() });
    for call in 0..100 {
        observe(&mut learner, &rules, &format!(r#"{{"m{call}":1}}"#), &format!(r#"{{"m{call}":2}}"#), start());
    }
    assert!(learner.crowded() >= 50 && learner.pairs() == 100);
}

#[test]
fn different_statuses_teach_nothing() {
    let (rules, headers) = (rules(""), headers("application/json"));
    let mut learner = NoiseLearner::new(NoiseSettings::default());
    let answer = |status| Answer { status, headers: &headers, body: b"{}" };
    learner.observe(&rules, &answer(200), &answer(503), start());
    assert_eq!(learner.pairs(), 0);
}
