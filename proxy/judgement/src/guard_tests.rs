use super::*;

fn good(latency_ms: u64) -> Sample {
    Sample { outcome: Outcome::Good, latency: Duration::from_millis(latency_ms), key: None }
}

fn bad(outcome: Outcome) -> Sample {
    Sample { outcome, ..good(1) }
}

/// One of each side, `count` times at most; how many it took until the guard had enough.
fn until(guard: &mut Guard, count: u64, pair: impl Fn(u64) -> (Sample, Sample)) -> Option<(u64, Reason)> {
    (1..=count).find_map(|number| {
        let now = Duration::from_millis(number);
        let (legacy, candidate) = pair(number);
        guard.observe(Side::Legacy, legacy, now);
        match guard.observe(Side::Candidate, candidate, now) {
            Verdict::RollBack(reason) => Some((number, reason)),
            _ => None,
        }
    })
}

#[test]
fn a_candidate_that_fails_every_request_is_stopped_within_seven() {
    let mut guard = Guard::new(Bounds::default());
    let (requests, reason) = until(&mut guard, 100, |_| (good(5), bad(Outcome::Failed))).expect("stopped");
    assert!(requests <= 7, "{requests}");
    assert_eq!(reason.metric, Metric::ErrorRate);
    assert_eq!(
        reason.seen,
        format!("the candidate failed {requests} of {requests} requests, legacy 0 of {requests} requests")
    );
}

#[test]
fn also_where_there_is_no_legacy_at_all() {
    let mut guard = Guard::new(Bounds::default());
    let stopped = (1..100).find(|number| {
        let verdict = guard.observe(Side::Candidate, bad(Outcome::Failed), Duration::from_millis(*number));
        matches!(verdict, Verdict::RollBack(_))
    });
    assert!(stopped <= Some(7), "{stopped:?}");
}

#[test]
fn each_defect_is_found_by_its_own_test() {
    let even = |number: u64| number.is_multiple_of(2);
    let mut guard = Guard::new(Bounds::default());
    let (_, reason) =
        until(&mut guard, 1_000, |number| (good(5), if even(number) { bad(Outcome::Refused) } else { good(5) }))
            .expect("stopped");
    assert_eq!(reason.metric, Metric::Refusals);
    let mut guard = Guard::new(Bounds::default());
    let (requests, reason) =
        until(&mut guard, 1_000, |number| (good(10 + number % 7), good(15 + number % 7))).expect("stopped");
    assert!(requests < 100 && matches!(reason.metric, Metric::Median | Metric::Tail), "{requests} {reason}");
    let mut guard = Guard::new(Bounds::default());
    let stops = |guard: &mut Guard| matches!(guard.observe_comparison(true), Verdict::RollBack(_));
    assert!(stops(&mut guard) || stops(&mut guard) || stops(&mut guard));
}

#[test]
fn a_failure_of_both_at_once_is_nobodys() {
    let mut guard = Guard::new(Bounds { error_rate: 0.99, ..Bounds::default() });
    let both = until(&mut guard, 20_000, |number| {
        let outcome = if number % 1_000 < 300 { Outcome::Failed } else { Outcome::Good };
        (bad(outcome), bad(outcome))
    });
    assert_eq!(both, None);
}

#[test]
fn one_key_that_always_fails_does_not_stop_a_ramp() {
    let mut guard = Guard::new(Bounds::default());
    let stopped = until(&mut guard, 5_000, |number| {
        let poisoned = Sample { key: Some(42), ..bad(Outcome::Failed) };
        (good(5), if number.is_multiple_of(10) { poisoned } else { good(5) })
    });
    assert_eq!(stopped, None);
}

#[test]
fn without_legacy_there_is_no_data_and_with_it_there_is() {
    let mut guard = Guard::new(Bounds::default());
    for number in 0..1_000 {
        guard.observe(Side::Candidate, good(5), Duration::from_millis(number));
    }
    assert_eq!(guard.verdict(10), Verdict::NoData);
    until(&mut guard, 10, |_| (good(5), good(5)));
    assert_eq!(guard.verdict(10), Verdict::Continue);
    guard.begin_step();
    assert_eq!(guard.verdict(10), Verdict::NoData);
    assert_eq!((guard.evidence().pairs, guard.evidence().pairs_in_all), (0, 10));
}

#[test]
fn a_baseline_that_is_not_fresh_is_none() {
    let mut guard = Guard::new(Bounds::default());
    guard.observe(Side::Legacy, good(5), Duration::ZERO);
    guard.observe(Side::Candidate, good(5), Duration::from_secs(11));
    assert_eq!(guard.evidence().pairs, 0);
    guard.observe(Side::Legacy, good(5), Duration::from_secs(12));
    assert_eq!(guard.evidence().pairs, 1);
}

#[test]
fn more_guards_make_each_of_them_slower_to_judge() {
    let bound = |guards| Guard::new(Bounds { guards, ..Bounds::default() }).bound();
    assert!((bound(1) - 600.0).abs() < 1e-9 && (bound(3) - 1800.0).abs() < 1e-9);
}
