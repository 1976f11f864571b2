//! What is counted about kept mismatches.

use prometheus::{IntCounter, IntGauge, Registry};

use crate::metrics::names;

pub(super) struct StoreMetrics {
    pub(super) stored: IntCounter,
    pub(super) dropped: IntCounter,
    pub(super) up: IntGauge,
}

impl StoreMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            stored: IntCounter::new(names::MISMATCHES_STORED, "Mismatches that were stored.")?,
            dropped: IntCounter::new(names::MISMATCHES_DROPPED, "Mismatches that found no room and were not stored.")?,
            up: IntGauge::new(names::MISMATCH_STORE_UP, "1 while the store of mismatches takes what it is given.")?,
        };
        registry.register(Box::new(metrics.stored.clone()))?;
        registry.register(Box::new(metrics.dropped.clone()))?;
        registry.register(Box::new(metrics.up.clone()))?;
        metrics.up.set(1);
        Ok(metrics)
    }
}
