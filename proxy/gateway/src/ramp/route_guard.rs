//! A route's guard between the requests that feed it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use judgement::{Bounds, Coverage, Evidence, Guard, Side, Verdict};

use super::sample::Observed;

/// A route's guard. A lock is held for the arithmetic of one request and over nothing else.
pub(crate) struct RouteGuard {
    bounds: Bounds,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    guard: Guard,
    coverage: Coverage,
    /// The route's epoch that the guard is about. What was decided in an earlier one is of the past.
    epoch: u64,
    /// It has sent this epoch back to legacy.
    rolled_back: bool,
}

/// What the conductor wants to know.
pub(super) struct Standing {
    pub(super) evidence: Evidence,
    pub(super) verdict: Verdict,
    pub(super) coverage: Option<f64>,
}

impl RouteGuard {
    pub(super) fn new(bounds: Bounds) -> Self {
        let state = Mutex::new(State::new(&bounds, 0));
        Self { bounds, started: Instant::now(), state }
    }

    /// Why the route must go back to legacy, told once.
    pub(super) fn request_ended(&self, ended: &Observed<'_>, epoch: u64) -> Option<String> {
        let (side, sample) = ended.sample()?;
        let mut state = match side {
            Side::Candidate => self.locked(),
            // There is more than enough of legacy; none of it waits for another.
            Side::Legacy => self.state.try_lock().ok()?,
        };
        state.be_in(epoch, &self.bounds);
        if ended.decision.epoch != state.epoch {
            return None;
        }
        let verdict = state.guard.observe(side, sample, self.started.elapsed());
        state.told_once(verdict)
    }

    /// As [`RouteGuard::request_ended`], for a comparison.
    pub(super) fn compared(&self, different: bool, epoch: u64) -> Option<String> {
        let mut state = self.locked();
        state.be_in(epoch, &self.bounds);
        let verdict = state.guard.observe_comparison(different);
        state.told_once(verdict)
    }

    /// A request of this shape was copied for a comparison.
    pub(super) fn copied(&self, shape: u64, epoch: u64) {
        let mut state = self.locked();
        state.be_in(epoch, &self.bounds);
        state.coverage.seen(shape);
    }

    /// The answers to a request of this shape were compared.
    pub(super) fn covered(&self, shape: u64, epoch: u64) {
        let mut state = self.locked();
        state.be_in(epoch, &self.bounds);
        state.coverage.compared(shape);
    }

    /// A ramp begins, and with it the tests. What was compared before stays compared.
    pub(super) fn begin_ramp(&self) {
        self.locked().guard = Guard::new(self.bounds.clone());
    }

    /// A step begins: its counts are new, the tests go on.
    pub(super) fn begin_step(&self) {
        self.locked().guard.begin_step();
    }

    pub(super) fn evidence(&self) -> Evidence {
        self.locked().guard.evidence()
    }

    pub(super) fn standing(&self, least_pairs: u64, comparisons_per_shape: u64) -> Standing {
        let state = self.locked();
        Standing {
            evidence: state.guard.evidence(),
            verdict: state.guard.verdict(least_pairs),
            coverage: state.coverage.share(comparisons_per_shape),
        }
    }

    /// The state is a few numbers, each of which makes sense whatever the others are.
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(bounds: &Bounds, epoch: u64) -> Self {
        Self { guard: Guard::new(bounds.clone()), coverage: Coverage::default(), epoch, rolled_back: false }
    }

    /// Forgets everything when the route has entered another epoch.
    fn be_in(&mut self, epoch: u64, bounds: &Bounds) {
        if epoch > self.epoch {
            *self = Self::new(bounds, epoch);
        }
    }

    fn told_once(&mut self, verdict: Verdict) -> Option<String> {
        match verdict {
            Verdict::RollBack(reason) if !self.rolled_back => {
                self.rolled_back = true;
                Some(reason.to_string())
            }
            _ => None,
        }
    }
}
