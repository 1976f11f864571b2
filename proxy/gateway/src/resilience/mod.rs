//! What a route does when the upstream of a request's side does not serve it.

mod failure_kind;
mod retry;
mod retry_budget;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::upstream::Unavailable;

pub use failure_kind::{FailureKind, FailureKinds};
pub(crate) use retry::FailedTry;
pub use retry::RetryPolicy;
pub(crate) use retry_budget::{BudgetSettings, RetryBudget};

/// The means of one route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resilience {
    /// When a request that was not sent to the candidate goes to legacy, on a route with a fallback.
    pub fallback_on: FallbackOn,
    /// When a request that failed is sent again.
    pub retries: Option<RetryPolicy>,
}

/// When a request that was not sent to the candidate goes to legacy.
///
/// Not by default when the candidate has as many requests as it may: an outage moves every key, but load
/// that is a little too high would move a key with every other request, and legacy, which may be small by
/// then, would get the peaks. Legacy's own `max_concurrent` protects it in each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FallbackOn {
    /// None of its addresses could be connected to.
    pub unreachable: bool,
    /// It has as many requests in flight as it may.
    pub overloaded: bool,
    /// Its circuit breaker is open.
    pub open: bool,
}

impl Default for FallbackOn {
    fn default() -> Self {
        Self { unreachable: true, overloaded: false, open: true }
    }
}

impl FallbackOn {
    pub(crate) fn contains(self, why: Unavailable) -> bool {
        match why {
            Unavailable::Unreachable => self.unreachable,
            Unavailable::Overloaded => self.overloaded,
            Unavailable::Open { .. } => self.open,
        }
    }
}

/// When a request that was not sent to the candidate goes to legacy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FallbackCase {
    /// None of the candidate's addresses could be connected to.
    Unreachable,
    /// It has as many requests in flight as it may.
    Overloaded,
    /// Its circuit breaker is open.
    Open,
}

impl FromIterator<FallbackCase> for FallbackOn {
    fn from_iter<T: IntoIterator<Item = FallbackCase>>(cases: T) -> Self {
        let mut on = Self { unreachable: false, overloaded: false, open: false };
        for case in cases {
            match case {
                FallbackCase::Unreachable => on.unreachable = true,
                FallbackCase::Overloaded => on.overloaded = true,
                FallbackCase::Open => on.open = true,
            }
        }
        on
    }
}
