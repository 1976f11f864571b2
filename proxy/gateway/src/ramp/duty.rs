//! What the conductor of a gateway does for one route at a tick.

use std::{sync::Arc, time::Duration};

use judgement::{Event, GateState, Hold, Holding, LeaseWatch, Moment, Phase, Progress, RampState, Renewal};

use super::{Plan, RouteRamp, Shown, route_guard::Standing};
use crate::{
    control::{Authorship, Change, ChangeError, Control, Expect, chain},
    rollout::{RampRecord, Ramping},
};

/// A gateway's part in the ramp of one route.
pub(super) struct Duty {
    ramp: Arc<RouteRamp>,
    /// This process, told from all others.
    holder: u64,
    watch: LeaseWatch,
    /// When the store was asked for the lease.
    asked: Option<Moment>,
    /// Since when the renewal that is known has not changed.
    unchanged: Option<Moment>,
    /// Whether this process has seen the route without a ramp under way, so that the next one it sees
    /// has just begun.
    idle_seen: bool,
    /// The step in force, and since when.
    clock: Option<(StepKey, Moment)>,
    /// What each outside check said in this step.
    pub(super) gates: Vec<GateState>,
    shown: Shown,
}

/// What tells a stay in a step from another.
type StepKey = (Phase, usize, u16);

impl Duty {
    pub(super) fn new(ramp: Arc<RouteRamp>, holder: u64) -> Self {
        Self {
            watch: LeaseWatch::new(lease_length(&ramp)),
            ramp,
            holder,
            asked: None,
            unchanged: None,
            idle_seen: false,
            clock: None,
            gates: Vec::new(),
            shown: Shown::default(),
        }
    }

    pub(super) fn ramp(&self) -> &Arc<RouteRamp> {
        &self.ramp
    }

    /// Whether all that is left is to ask the outside checks.
    pub(super) fn waits_for_gates(&self) -> bool {
        matches!(self.shown.holding, Some(Holding::Gate { .. }))
    }

    /// Looks at the clock, the lease and the evidence, and does what follows.
    pub(super) fn tick(&mut self, control: &Control, now: Moment) {
        let (ramp, snapshot) = (self.ramp.clone(), control.snapshot().clone());
        let found = ramp.plan.as_ref().zip(snapshot.ramp(ramp.id).cloned());
        self.shown = Shown::default();
        match found {
            Some((plan, ramping)) if ramping.record.state.phase.is_under_way() => {
                self.follow(control, plan, &ramping, snapshot.revision(), now);
                let age = self.watch.age(now).map(|age| age.as_secs_f64());
                ramp.metrics.ramp(Some(ramping.record.state.step), age);
            }
            _ => {
                self.rest(control);
                ramp.metrics.ramp(None, None);
                let Standing { evidence, verdict, .. } = ramp.guard.standing(0, 1);
                ramp.metrics.guard(&evidence, &verdict);
            }
        }
        ramp.showing.set(self.shown.clone());
    }

    /// No ramp is under way.
    fn rest(&mut self, control: &Control) {
        self.idle_seen = true;
        self.clock = None;
        control.hold(self.ramp.id, false);
        if self.has_lease() {
            // Whoever starts the next one need not wait for this one's end.
            match control.drop_lease(self.ramp.id) {
                Ok(()) => self.watch = LeaseWatch::new(lease_length(&self.ramp)),
                Err(error) => self.shown.problem = Some(chain(&error)),
            }
        }
    }

    fn follow(&mut self, control: &Control, plan: &Plan, ramping: &Ramping, revision: u64, now: Moment) {
        let begun = std::mem::take(&mut self.idle_seen);
        if begun {
            self.ramp.guard.begin_ramp();
        }
        let state = &ramping.record.state;
        let held = self.watch.look(now) == Hold::Live;
        let lapsed = self.has_lease() && !held;
        // Before the store is asked, which may take long: time is up when it is up.
        control.hold(self.ramp.id, held);
        let taken_over = self.look_after_lease(control, plan, begun, now);
        let interrupted =
            if lapsed { Some("the lease was not renewed in time, or a clock jumped".to_owned()) } else { taken_over };
        let held = self.watch.look(now) == Hold::Live;
        self.shown.conducts = held && self.has_lease();
        self.shown.lease_held = held;
        self.shown.lease_age_ms = self.watch.age(now).map(whole_ms);
        let since = self.in_step(state, now);
        let time = now.monotonic.saturating_sub(since.monotonic);
        self.shown.step_ms = Some(whole_ms(time));
        let least = plan.plan.step(state.step).least_requests;
        let Standing { evidence, verdict, coverage } = self.ramp.guard.standing(least, plan.plan.comparisons_per_shape);
        self.ramp.metrics.guard(&evidence, &verdict);
        self.shown.coverage = coverage;
        if !self.shown.conducts {
            return;
        }
        let event = self.event(plan, ramping, interrupted, || Progress {
            time,
            requests: evidence.candidate.requests,
            pairs: evidence.pairs,
            verdict,
            coverage,
            gates: self.gate_state(plan),
        });
        let Ok(next) = state.next(&plan.plan, event) else { return };
        self.shown.holding = next.holding;
        if next.state != *state {
            self.keep(control, plan, next.state, next.roll_back.as_deref(), revision);
        }
        // Last, so that an interrupted step is written down before its lease makes it hold.
        control.hold(self.ramp.id, self.watch.look(now) == Hold::Live);
    }

    fn event(
        &self,
        plan: &Plan,
        ramping: &Ramping,
        interrupted: Option<String>,
        progress: impl FnOnce() -> Progress,
    ) -> Event {
        let state = &ramping.record.state;
        if ramping.asked.points() != state.weight {
            Event::WeightSetByHand(ramping.asked.points())
        } else if ramping.record.plan != plan.hash && state.phase != Phase::Paused {
            Event::Pause("the plan in the gateway's configuration is another now".to_owned())
        } else if let Some(why) = interrupted {
            Event::Interrupted(why)
        } else {
            Event::Tick(progress())
        }
    }

    /// Whether the lease is this process's, as far as it knows.
    fn has_lease(&self) -> bool {
        self.watch.known().is_some_and(|known| known.holder == self.holder)
    }

    /// Renews the lease, takes it over, or sees who has it. When it was taken over from somebody: why that
    /// interrupts the ramp.
    fn look_after_lease(&mut self, control: &Control, plan: &Plan, begun: bool, now: Moment) -> Option<String> {
        let length = plan.plan.lease;
        let known = self.watch.known();
        if self.has_lease() {
            let due = self.watch.age(now).is_none_or(|age| age >= length / 3);
            if due {
                self.renew(control, known, now);
            }
            return None;
        }
        let since = |then: Moment| now.monotonic.saturating_sub(then.monotonic);
        if !begun && self.asked.is_some_and(|asked| since(asked) < length / 6) {
            return None;
        }
        let found = match control.lease(self.ramp.id) {
            Ok(found) => found,
            Err(error) => {
                self.shown.problem = Some(chain(&error));
                return None;
            }
        };
        self.asked = Some(now);
        if self.unchanged.is_none() || found != known {
            self.unchanged = Some(now);
        }
        self.watch.saw(found, now);
        match found {
            None => {
                let taken_over = self.renew(control, None, now) && !begun;
                taken_over.then(|| "another gateway conducts the ramp now, or this one was restarted".to_owned())
            }
            Some(_) if self.unchanged.is_some_and(|then| since(then) >= length) => {
                self.renew(control, found, now).then(|| "whoever conducted the ramp has not been heard of".to_owned())
            }
            Some(_) => None,
        }
    }

    /// `false` when the lease is another's.
    fn renew(&mut self, control: &Control, before: Option<Renewal>, now: Moment) -> bool {
        let next = Renewal { holder: self.holder, number: before.map_or(1, |before| before.number + 1) };
        match control.renew_lease(self.ramp.id, before, next) {
            Ok(true) => {
                self.watch.renewed(next, now);
                true
            }
            Ok(false) => {
                // The next look tells whose it is.
                self.asked = None;
                self.watch.saw(None, now);
                false
            }
            Err(error) => {
                self.shown.problem = Some(format!("the lease cannot be renewed: {}", chain(&error)));
                false
            }
        }
    }

    /// Since when the step is in force here.
    fn in_step(&mut self, state: &RampState, now: Moment) -> Moment {
        let key = (state.phase, state.step, state.weight);
        match self.clock {
            Some((known, since)) if known == key => since,
            _ => {
                self.clock = Some((key, now));
                self.gates.clear();
                self.ramp.guard.begin_step();
                now
            }
        }
    }

    fn gate_state(&self, plan: &Plan) -> GateState {
        let not_asked = || GateState::Waiting("the gates have not been asked yet".to_owned());
        if self.gates.len() < plan.gates.len() {
            return not_asked();
        }
        let worst = |found: GateState, next: &GateState| match (&found, next) {
            (GateState::Failed(_), _) | (GateState::Waiting(_), GateState::Waiting(_) | GateState::Passed) => found,
            _ => next.clone(),
        };
        self.gates.iter().fold(GateState::Passed, worst)
    }

    /// Writes down where the ramp stands now, and with it the weight.
    fn keep(&mut self, control: &Control, plan: &Plan, state: RampState, roll_back: Option<&str>, revision: u64) {
        let reason = roll_back.unwrap_or(&state.reason);
        let by = Authorship::new("ramp", reason, "ramp");
        if roll_back.is_some() {
            // The rollback ends the ramp in the document, too.
            control.roll_back(&[self.ramp.id], &by);
            return;
        }
        let change = Change::Ramp { route: self.ramp.id, record: RampRecord { plan: plan.hash.clone(), state } };
        match control.change(&change, &by, Expect::Revision(revision)) {
            // Somebody was quicker; the next tick sees what they did.
            Ok(_) | Err(ChangeError::Conflict { .. }) => {}
            Err(error) => self.shown.problem = Some(chain(&error)),
        }
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A route without a plan has no ramp, so any length will do.
fn lease_length(ramp: &RouteRamp) -> Duration {
    ramp.plan.as_ref().map_or(Duration::from_secs(1), |plan| plan.plan.lease)
}
