use proptest::prelude::*;

use super::*;

fn settings() -> CircuitSettings {
    CircuitSettings {
        consecutive_failures: 3,
        share: None,
        open_for: Duration::from_secs(10),
        open_for_max: Duration::from_secs(60),
        trials: 2,
    }
}

/// A circuit and the time it is told.
struct Bench {
    circuit: Circuit,
    now: Instant,
}

impl Bench {
    fn new(settings: CircuitSettings) -> Self {
        let now = Instant::now();
        Self { circuit: Circuit::new(settings, now), now }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn admit(&mut self) -> Result<Ticket, Refused> {
        self.circuit.admit(self.now)
    }

    fn record(&mut self, ticket: Ticket, outcome: Outcome) -> Option<Change> {
        self.circuit.record(ticket, outcome, self.now, 0.0, || true)
    }

    /// One request after the other.
    fn serve(&mut self, outcomes: &[Outcome]) -> Option<Change> {
        let mut last = None;
        for outcome in outcomes {
            let ticket = self.admit().expect("it is let through");
            last = self.record(ticket, *outcome);
        }
        last
    }
}

use Outcome::{Failure, Success, Unknown};

fn opened(seconds: u64) -> Option<Change> {
    Some(Change::Opened(Duration::from_secs(seconds)))
}

#[test]
fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
    let mut bench = Bench::new(settings());
    assert_eq!(bench.serve(&[Failure, Failure, Success, Failure, Failure, Unknown]), None);
    assert_eq!(bench.serve(&[Failure]), opened(10));
    assert_eq!(bench.admit(), Err(Refused { retry_after: Duration::from_secs(10) }));
    bench.pass(9);
    assert_eq!(bench.admit(), Err(Refused { retry_after: Duration::from_secs(1) }));
}

#[test]
fn probation_lets_as_many_through_as_it_says_and_all_must_succeed() {
    let mut bench = Bench::new(settings());
    bench.serve(&[Failure; 3]);
    bench.pass(10);
    let (first, second) = (bench.admit().expect("a trial"), bench.admit().expect("a trial"));
    assert!(bench.admit().is_err() && !bench.circuit.would_admit(bench.now));
    assert_eq!(bench.record(first, Success), None);
    assert!(bench.admit().is_err(), "one that succeeded makes no room for another");
    assert_eq!(bench.record(second, Success), Some(Change::Closed));
    assert_eq!(bench.serve(&[Failure, Failure, Success]), None, "it counts from the start");
}

#[test]
fn a_failed_trial_opens_it_for_twice_as_long_up_to_the_most() {
    let mut bench = Bench::new(settings());
    assert_eq!(bench.serve(&[Failure; 3]), opened(10));
    for seconds in [20, 40, 60, 60] {
        bench.pass(60);
        assert_eq!(bench.serve(&[Failure]), opened(seconds));
    }
    bench.pass(60);
    assert_eq!(bench.serve(&[Success, Success]), Some(Change::Closed));
    bench.pass(59);
    assert_eq!(bench.serve(&[Failure; 3]), opened(60), "it was not closed for long");
    bench.pass(60);
    bench.serve(&[Success, Success]);
    bench.pass(60);
    assert_eq!(bench.serve(&[Failure; 3]), opened(10), "it was");
}

#[test]
fn what_began_before_decides_nothing_afterwards() {
    let mut bench = Bench::new(settings());
    let early = bench.admit().expect("closed");
    bench.serve(&[Failure; 3]);
    assert_eq!(bench.record(early, Success), None);
    bench.pass(10);
    let trial = bench.admit().expect("a trial");
    assert_eq!(bench.record(early, Failure), None);
    assert_eq!(bench.record(trial, Failure), opened(20));
}

#[test]
fn a_trial_that_nobody_can_judge_is_given_back() {
    let mut bench = Bench::new(CircuitSettings { trials: 1, ..settings() });
    bench.serve(&[Failure; 3]);
    bench.pass(10);
    assert_eq!(bench.serve(&[Unknown, Unknown, Success]), Some(Change::Closed));
}

#[test]
fn trials_that_never_come_back_do_not_hold_it_up() {
    let mut bench = Bench::new(CircuitSettings { trials: 1, ..settings() });
    bench.serve(&[Failure; 3]);
    bench.pass(10);
    let lost = bench.admit().expect("a trial");
    assert_eq!(bench.admit(), Err(Refused { retry_after: Duration::from_secs(10) }));
    bench.pass(10);
    let next = bench.admit().expect("another");
    assert_eq!(bench.record(next, Success), Some(Change::Closed));
    assert_eq!(bench.record(lost, Failure), None);
}

#[test]
fn a_share_of_failures_opens_it_once_there_is_enough_to_tell() {
    let share = FailureShare { share: 0.5, min_requests: 10, window: Duration::from_secs(10) };
    let mut bench = Bench::new(CircuitSettings { consecutive_failures: 0, share: Some(share), ..settings() });
    assert_eq!(bench.serve(&[Failure; 9]), None);
    bench.pass(11);
    assert_eq!(bench.serve(&[Success, Success, Success, Success, Success, Failure, Failure, Failure, Failure]), None);
    assert_eq!(bench.serve(&[Failure]), opened(10));
}

#[test]
fn one_that_may_not_open_asks_again() {
    let mut bench = Bench::new(settings());
    for _ in 0..5 {
        let ticket = bench.admit().expect("closed");
        assert_eq!(bench.circuit.record(ticket, Failure, bench.now, 0.0, || false), None);
    }
    assert_eq!(bench.serve(&[Failure]), opened(10));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask,
    /// The ticket at this place, modulo how many are held.
    Bring(usize, Outcome),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![Just(Success), Just(Failure), Just(Unknown)];
    prop_oneof![
        3 => Just(Step::Ask),
        3 => (any::<usize>(), outcome).prop_map(|(place, outcome)| Step::Bring(place, outcome)),
        1 => (0_u64..30).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_happens(trials in 1_u32..4, steps in prop::collection::vec(step(), 0..300)) {
        let mut bench = Bench::new(CircuitSettings { trials, ..settings() });
        let mut held = Vec::new();
        let mut open_until = None;
        for step in steps {
            match step {
                Step::Wait(seconds) => bench.pass(seconds),
                Step::Ask => {
                    let expected = bench.circuit.would_admit(bench.now);
                    let admitted = bench.admit();
                    prop_assert_eq!(admitted.is_ok(), expected, "what would be admitted is");
                    if let Some(until) = open_until {
                        prop_assert!(admitted.is_err() || bench.now >= until, "nobody passes an open circuit");
                    }
                    if let Err(refused) = admitted {
                        prop_assert!(!refused.retry_after.is_zero(), "waiting that long is worth it");
                    }
                    held.extend(admitted);
                }
                Step::Bring(place, outcome) if !held.is_empty() => {
                    let ticket = held.swap_remove(place % held.len());
                    match bench.record(ticket, outcome) {
                        Some(Change::Opened(open_for)) => {
                            prop_assert_eq!(outcome, Failure);
                            prop_assert!((Duration::from_secs(10)..=Duration::from_secs(60)).contains(&open_for));
                            open_until = Some(bench.now + open_for);
                        }
                        Some(Change::Closed) => {
                            prop_assert_eq!(outcome, Success);
                            open_until = None;
                        }
                        None => {}
                    }
                }
                Step::Bring(..) => {}
            }
        }
        // Whatever it has been through, it closes once everything succeeds.
        bench.pass(60);
        for _ in 0..trials {
            if let Ok(ticket) = bench.admit() {
                bench.record(ticket, Success);
            }
        }
        bench.pass(60);
        let closed = |bench: &Bench| matches!(bench.circuit.state, State::Closed(_));
        for _ in 0..=trials {
            if let Ok(ticket) = bench.admit() {
                bench.record(ticket, Success);
            }
        }
        prop_assert!(closed(&bench));
    }
}
