//! What people are shown of a ramp.

use std::sync::{Mutex, PoisonError};

use judgement::Holding;
use serde::Serialize;

/// What the conductor saw last.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Shown {
    /// Whether this gateway conducts it.
    pub(crate) conducts: bool,
    /// Whether the lease of an unproven weight holds here.
    pub(crate) lease_held: bool,
    /// How old the lease is.
    pub(crate) lease_age_ms: Option<u64>,
    /// How long this gateway has had the step.
    pub(crate) step_ms: Option<u64>,
    /// What the step waits for, as far as this gateway conducts it.
    pub(crate) holding: Option<Holding>,
    /// The share of requests whose shape was compared often enough.
    pub(crate) coverage: Option<f64>,
    /// What keeps the ramp from moving that should not.
    pub(crate) problem: Option<String>,
}

/// Where it is kept.
#[derive(Debug, Default)]
pub(crate) struct Showing(Mutex<Shown>);

impl Showing {
    pub(crate) fn get(&self) -> Shown {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, shown: Shown) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}
