//! What a guard knows, for people and programs.

use serde::Serialize;

use crate::metric::Metric;

/// What a guard knows.
#[derive(Debug, Clone, Serialize)]
pub struct Evidence {
    /// Requests of legacy since the step began.
    pub legacy: SideCounts,
    /// Requests of the candidate since the step began.
    pub candidate: SideCounts,
    /// Pairs of both since the step began.
    pub pairs: u64,
    /// Pairs since the tests began.
    pub pairs_in_all: u64,
    /// Comparisons since the step began, and those that found a difference.
    pub comparisons: u64,
    /// See `comparisons`.
    pub mismatches: u64,
    /// The e-value at which the guard rolls back.
    pub bound: f64,
    /// Each test.
    pub metrics: Vec<MetricEvidence>,
    /// Legacy's running median and 95th percentile, in milliseconds.
    pub baseline_ms: [Option<f64>; 2],
}

/// How the requests of a side ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SideCounts {
    /// All of them.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were refused.
    pub refused: u64,
}

/// How a test stands.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MetricEvidence {
    /// What it tests.
    pub metric: Metric,
    /// Its evidence against the candidate: 1 is none, the bound rolls back.
    pub e_value: f64,
    /// How many observations it has seen.
    pub looks: u64,
}
