//! What a ramp is to do.

use std::time::Duration;

use serde::Serialize;

/// What a ramp is to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RampPlan {
    /// The steps, each with a higher weight than the one before; at least one.
    pub steps: Vec<Step>,
    /// How long the weight of a step holds without a renewal of the lease.
    pub lease: Duration,
    /// What to do where legacy gives no baseline.
    pub no_data: NoDataPolicy,
    /// The share of requests whose shape must have been compared, from 0 to 1; 0 asks for none.
    pub coverage: f64,
    /// How often a shape must have been compared to count.
    pub comparisons_per_shape: u64,
}

/// One step of a ramp.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// The share of keys on the candidate, in basis points.
    pub weight: u16,
    /// The step lasts at least so long.
    pub least_time: Duration,
    /// And until at least so many pairs of requests were judged.
    pub least_requests: u64,
    /// Whether somebody must approve before it ends.
    pub approval: bool,
}

/// What to do where legacy gives no baseline, as it does at 100 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoDataPolicy {
    /// Wait.
    Hold,
    /// Count the candidate's requests in place of pairs; only the absolute bounds judge them.
    Absolute,
}

impl RampPlan {
    /// The step of this number, from 0; the last one for any beyond.
    #[must_use]
    pub fn step(&self, number: usize) -> &Step {
        let last = self.steps.len() - 1;
        &self.steps[number.min(last)]
    }

    /// Whether there is a step after this one.
    #[must_use]
    pub fn goes_on_after(&self, number: usize) -> bool {
        number + 1 < self.steps.len()
    }
}
