//! What is tested.

use std::fmt;

use serde::Serialize;

/// What is tested, each by a test of its own with an equal share of `alpha`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Failed requests (server errors, timeouts, broken connections), against legacy.
    Errors,
    /// Failed requests, against a fixed rate. It needs no legacy, and is what stops a candidate that
    /// fails every request within a few of them.
    ErrorRate,
    /// Refused requests (client errors), against legacy.
    Refusals,
    /// Answers slower than legacy's median.
    Median,
    /// Answers slower than the slowest twentieth of legacy's.
    Tail,
    /// Answers that differ from legacy's, against a fixed rate.
    Mismatches,
}

impl Metric {
    /// All of them, in the order they are declared.
    pub const ALL: [Self; 6] =
        [Self::Errors, Self::ErrorRate, Self::Refusals, Self::Median, Self::Tail, Self::Mismatches];

    /// The name in metrics, API and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::ErrorRate => "error_rate",
            Self::Refusals => "refusals",
            Self::Median => "median",
            Self::Tail => "tail",
            Self::Mismatches => "mismatches",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
