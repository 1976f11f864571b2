use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::guard::{Reason, Verdict};
use crate::metric::Metric;

fn plan() -> RampPlan {
    let step = |weight, approval| Step { weight, least_time: Duration::from_secs(60), least_requests: 100, approval };
    RampPlan {
        steps: vec![step(100, false), step(1_000, true), step(10_000, false)],
        lease: Duration::from_secs(30),
        no_data: NoDataPolicy::Hold,
        coverage: 0.9,
        comparisons_per_shape: 3,
    }
}

fn enough() -> Progress {
    Progress {
        time: Duration::from_secs(60),
        requests: 100,
        pairs: 100,
        verdict: Verdict::Continue,
        coverage: Some(1.0),
        gates: GateState::Passed,
    }
}

fn after(state: &RampState, event: Event) -> Transition {
    state.next(&plan(), event).expect("possible")
}

fn bad() -> Verdict {
    Verdict::RollBack(Reason { metric: Metric::Errors, e_value: 700.0, bound: 600.0, seen: "5 of 5".to_owned() })
}

#[test]
fn a_healthy_ramp_walks_through_its_steps() {
    let mut state = RampState::start(&plan(), 0);
    assert_eq!((state.weight, state.proven, state.needs_lease()), (100, 0, true));
    state = after(&state, Event::Tick(enough())).state;
    assert_eq!((state.step, state.weight, state.proven), (1, 1_000, 100));
    let waits = after(&state, Event::Tick(enough()));
    assert_eq!((waits.holding, waits.state.clone()), (Some(Holding::Approval), state));
    state = after(&waits.state, Event::Approve).state;
    state = after(&state, Event::Tick(enough())).state;
    assert_eq!((state.step, state.weight, state.proven, state.approved), (2, 10_000, 1_000, false));
    state = after(&state, Event::Tick(enough())).state;
    assert_eq!((state.phase, state.weight, state.proven), (Phase::Completed, 10_000, 10_000));
    assert!(!state.needs_lease());
}

#[test]
fn each_gate_holds_by_itself() {
    let state = RampState::start(&plan(), 0);
    let holding = |progress| after(&state, Event::Tick(progress)).holding;
    let second = Duration::from_secs(1);
    let cases = [
        (Progress { time: Duration::from_secs(59), ..enough() }, Holding::Time { left: second }),
        (Progress { pairs: 99, ..enough() }, Holding::Data { pairs: 99, least: 100 }),
        (Progress { verdict: Verdict::NoData, ..enough() }, Holding::Data { pairs: 100, least: 100 }),
        (Progress { coverage: None, ..enough() }, Holding::Coverage { share: 0.0, least: 0.9 }),
        (
            Progress { gates: GateState::Waiting("ci: hold".to_owned()), ..enough() },
            Holding::Gate { said: "ci: hold".to_owned() },
        ),
    ];
    for (progress, expected) in cases {
        assert_eq!(holding(progress), Some(expected));
    }
}

#[test]
fn at_all_traffic_requests_of_the_candidate_count_only_where_the_plan_says_so() {
    let last = RampState { step: 2, weight: 10_000, proven: 1_000, ..RampState::start(&plan(), 0) };
    let alone = || Event::Tick(Progress { pairs: 0, verdict: Verdict::NoData, ..enough() });
    assert_eq!(after(&last, alone()).holding, Some(Holding::Data { pairs: 0, least: 100 }));
    let absolute = RampPlan { no_data: NoDataPolicy::Absolute, ..plan() };
    assert_eq!(last.next(&absolute, alone()).map(|next| next.state.phase), Ok(Phase::Completed));
}

#[test]
fn a_guard_or_a_gate_sends_everything_back() {
    let state = RampState::start(&plan(), 0);
    let verdict = after(&state, Event::Tick(Progress { verdict: bad(), ..enough() }));
    let gate = after(&state, Event::Tick(Progress { gates: GateState::Failed("ci: red".to_owned()), ..enough() }));
    for ended in [&verdict, &gate] {
        assert_eq!((ended.state.phase, ended.state.weight, ended.state.proven), (Phase::RolledBack, 0, 0));
    }
    assert!(verdict.roll_back.is_some_and(|why| why.contains("5 of 5")));
    assert_eq!(gate.roll_back.as_deref(), Some("a gate failed: ci: red"));
    let paused = after(&state, Event::Pause("lunch".to_owned())).state;
    let verdict = after(&paused, Event::Tick(Progress { verdict: bad(), ..enough() }));
    assert_eq!(verdict.state.phase, Phase::RolledBack, "a pause does not blind the guard");
}

#[test]
fn an_interrupted_step_waits_on_the_proven_weight_and_starts_over() {
    let state = after(&RampState::start(&plan(), 0), Event::Tick(enough())).state;
    let recovering = after(&state, Event::Interrupted("restarted".to_owned())).state;
    assert_eq!((recovering.phase, recovering.weight, recovering.step), (Phase::Recovering, 100, 1));
    assert!(!recovering.needs_lease());
    let early = after(&recovering, Event::Tick(Progress { time: Duration::from_secs(29), ..enough() }));
    assert_eq!(early.holding, Some(Holding::Recovery { left: Duration::from_secs(1) }));
    let again = after(&recovering, Event::Tick(Progress { time: Duration::from_secs(30), ..enough() })).state;
    assert_eq!((again.phase, again.weight, again.step), (Phase::Running, 1_000, 1));
}

#[test]
fn a_weight_set_by_hand_pauses_and_is_its_setters_to_answer_for() {
    let state = RampState::start(&plan(), 0);
    let paused = after(&state, Event::WeightSetByHand(2_500)).state;
    assert_eq!((paused.phase, paused.weight, paused.needs_lease()), (Phase::Paused, 2_500, false));
    let resumed = after(&paused, Event::Resume).state;
    assert_eq!((resumed.step, resumed.weight, resumed.proven), (2, 10_000, 2_500));
}

fn any_event() -> impl Strategy<Value = Event> {
    let word = || "why".to_owned();
    let verdict = prop_oneof![6 => Just(Verdict::Continue), 1 => Just(bad()), 2 => Just(Verdict::NoData)];
    let gates = prop_oneof![
        6 => Just(GateState::Passed),
        1 => Just(GateState::Failed("red".to_owned())),
        2 => Just(GateState::Waiting("busy".to_owned())),
    ];
    let tick = (0..120_u64, 0..200_u64, verdict, gates).prop_map(|(time, pairs, verdict, gates)| {
        let time = Duration::from_secs(time);
        Event::Tick(Progress { time, requests: pairs, pairs, verdict, coverage: Some(1.0), gates })
    });
    prop_oneof![
        8 => tick,
        1 => Just(Event::Interrupted(word())),
        1 => (0..=10_000_u16).prop_map(Event::WeightSetByHand),
        1 => Just(Event::Pause(word())),
        2 => Just(Event::Resume),
        2 => Just(Event::Approve),
        1 => Just(Event::Promote(word())),
        1 => Just(Event::Abort(word())),
        1 => Just(Event::RolledBack(word())),
    ]
}

proptest! {
    /// Whatever happens, in whatever order.
    #[test]
    fn a_weight_is_proven_or_leased(events in prop::collection::vec(any_event(), 1..60)) {
        let plan = plan();
        let mut state = RampState::start(&plan, 0);
        for event in events {
            let by_hand = matches!(event, Event::WeightSetByHand(_));
            let passes = matches!(&event, Event::Promote(_))
                || matches!(&event, Event::Tick(seen) if seen.pairs >= 100 && seen.verdict == Verdict::Continue);
            let Ok(next) = state.next(&plan, event) else { continue };
            let after = &next.state;
            // Only somebody's word or gates that passed prove a weight.
            prop_assert!(after.proven <= state.proven || passes || by_hand, "{state:?} -> {after:?}");
            prop_assert!(after.proven <= after.weight || !after.phase.is_under_way(), "{after:?}");
            prop_assert!(after.weight <= after.proven || after.needs_lease(), "{after:?}");
            // A ramp goes one step at a time, and an ended one stays as it is.
            prop_assert!(after.step <= state.step + 1 || state.phase == Phase::Paused);
            prop_assert!(state.phase.is_under_way() || *after == state);
            if matches!(after.phase, Phase::RolledBack | Phase::Aborted) {
                prop_assert_eq!((after.weight, after.proven), (0, 0));
            }
            state = next.state;
        }
    }
}
