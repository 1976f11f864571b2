//! What the rollout document keeps of a ramp.
//!
//! ```toml
//! [routes.invoke.ramp]
//! plan = "1f0c9a7be2d34c55"   # of the plan in the gateway's configuration that this is about
//! state = "running"           # running, recovering, paused, completed, rolled_back, aborted
//! step = 2                    # from 1
//! percent = 5                 # what this step asks for; another `percent` above was set by hand
//! proven = 1                  # what may be in force although nobody conducts the ramp
//! reason = "passed with 1200 pairs of requests"
//! ```

use judgement::{Phase, RampState};
use layered_config::Report;
use schemars::JsonSchema;
use serde::Deserialize;

use super::weight::Weight;

/// A ramp as the document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RampRecord {
    /// The hash of its plan.
    pub plan: String,
    /// Where it stands.
    pub state: RampState,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRamp {
    /// The hash of its plan.
    plan: String,
    /// What it is doing.
    #[schemars(with = "String")]
    state: Phase,
    /// The step that is in force, from 1 on.
    step: usize,
    /// The percentage that it asks for.
    percent: f64,
    /// What may be in force although nobody conducts the ramp.
    proven: f64,
    /// Whether somebody has approved the step.
    #[serde(default)]
    approved: bool,
    /// Why it stands there.
    #[serde(default)]
    reason: String,
}

impl RawRamp {
    pub(super) fn check(&self, key: &str, report: &mut Report) {
        for (name, percent) in [("percent", self.percent), ("proven", self.proven)] {
            if let Err(problem) = Weight::from_percent(percent) {
                let fix = "remove the whole table: the weight above stays as it is, and the ramp is forgotten";
                report.problem(&format!("{key}.{name}"), problem.to_string(), fix);
            }
        }
        if self.step == 0 {
            report.problem(&format!("{key}.step"), "steps are counted from 1", "write 1 or more");
        }
    }

    pub(super) fn record(&self) -> Option<RampRecord> {
        let state = RampState {
            phase: self.state,
            step: self.step.checked_sub(1)?,
            weight: Weight::from_percent(self.percent).ok()?.points(),
            proven: Weight::from_percent(self.proven).ok()?.points(),
            approved: self.approved,
            reason: self.reason.clone(),
        };
        Some(RampRecord { plan: self.plan.clone(), state })
    }
}

/// A ramp in force, and the weight that the document gives its route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ramping {
    /// The ramp.
    pub record: RampRecord,
    /// The route's weight in the document.
    pub asked: Weight,
}

impl Ramping {
    /// The weight that is in force: the document's, unless it is one that the ramp has not proven and
    /// whose lease is not `held`. A weight that somebody set by hand needs no lease.
    #[must_use]
    pub fn in_force(&self, held: bool) -> Weight {
        let state = &self.record.state;
        if !held && state.needs_lease() && self.asked.points() == state.weight {
            Weight::from_points(state.proven)
        } else {
            self.asked
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unproven_weight_is_in_force_with_a_lease_only() {
        let ramping = |phase, asked, weight, proven| Ramping {
            record: RampRecord {
                plan: String::new(),
                state: RampState { phase, step: 1, weight, proven, approved: false, reason: String::new() },
            },
            asked: Weight::from_points(asked),
        };
        let in_force = |ramping: &Ramping| [ramping.in_force(false).points(), ramping.in_force(true).points()];
        assert_eq!(in_force(&ramping(Phase::Running, 500, 500, 100)), [100, 500]);
        assert_eq!(in_force(&ramping(Phase::Paused, 500, 500, 100)), [100, 500]);
        assert_eq!(in_force(&ramping(Phase::Running, 700, 500, 100)), [700, 700], "set by hand");
        assert_eq!(in_force(&ramping(Phase::Completed, 10_000, 10_000, 10_000)), [10_000, 10_000]);
        assert_eq!(in_force(&ramping(Phase::Recovering, 100, 100, 100)), [100, 100]);
    }
}
