//! What the control of the rollout counts.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::Kind;
use crate::metrics::names;

/// Metrics of the store and of changes.
pub(crate) struct ControlMetrics {
    changes: [IntCounter; Kind::ALL.len()],
    refused: IntCounter,
    store_up: IntGauge,
    store_heard: Gauge,
    pending: IntGauge,
}

impl ControlMetrics {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let changes = IntCounterVec::new(
            Opts::new(names::ROLLOUT_CHANGES, "Revisions of the rollout document made by this gateway, by kind."),
            &["kind"],
        )?;
        let refused = IntCounter::new(names::ROLLOUT_CHANGES_REFUSED, "Changes of the rollout that were not made.")?;
        let store_up = IntGauge::new(names::ROLLOUT_STORE_UP, "1 while the store of the rollout document answers.")?;
        let store_heard =
            Gauge::new(names::ROLLOUT_STORE_HEARD, "When the store last answered, in seconds since 1970.")?;
        let pending = IntGauge::new(names::ROLLOUT_PENDING, "Rollbacks in force here that the store does not have.")?;
        registry.register(Box::new(changes.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(store_up.clone()))?;
        registry.register(Box::new(store_heard.clone()))?;
        registry.register(Box::new(pending.clone()))?;
        let changes = Kind::ALL.map(|kind| changes.with_label_values(&[kind.as_str()]));
        Ok(Self { changes, refused, store_up, store_heard, pending })
    }

    pub(super) fn changed(&self, kind: Kind) {
        self.changes[kind as usize].inc();
    }

    pub(super) fn refused(&self) {
        self.refused.inc();
    }

    pub(super) fn store_answered(&self) {
        self.store_up.set(1);
        self.store_heard.set(now_s());
    }

    pub(super) fn store_lost(&self) {
        self.store_up.set(0);
    }

    pub(super) fn pending(&self, rollbacks: usize) {
        self.pending.set(i64::try_from(rollbacks).unwrap_or(i64::MAX));
    }

    /// Seconds since the store last answered; `None` when it never has.
    pub(super) fn store_age_s(&self) -> Option<f64> {
        let heard = self.store_heard.get();
        (heard > 0.0).then(|| (now_s() - heard).max(0.0))
    }
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
