use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use telemetry::metrics::DURATION_BUCKETS_S;

use crate::metrics::names;

/// What is counted of fences, for all slices.
pub(super) struct Families {
    standing: IntGaugeVec,
    ended: IntCounterVec,
    held: HistogramVec,
    waiting: IntGaugeVec,
    waited: HistogramVec,
    refused: IntCounterVec,
}

/// One slice's.
pub(crate) struct GateMetrics {
    pub(super) slice: String,
    standing: IntGauge,
    pub(super) lifted: IntCounter,
    pub(super) expired: IntCounter,
    held: Histogram,
    pub(super) waiting: IntGauge,
    waited: Histogram,
    pub(super) too_many: IntCounter,
    pub(super) too_long: IntCounter,
}

impl Families {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let times = |name, help| {
            HistogramVec::new(HistogramOpts::new(name, help).buckets(DURATION_BUCKETS_S.to_vec()), &["slice"])
        };
        let families = Self {
            standing: IntGaugeVec::new(Opts::new(names::FENCE_STANDING, "1 while a fence stands."), &["slice"])?,
            ended: IntCounterVec::new(Opts::new(names::FENCES, "Fences that have ended, by how."), &["slice", "end"])?,
            held: times(names::FENCE_HELD, "How long fences stood.")?,
            waiting: IntGaugeVec::new(Opts::new(names::FENCE_WAITING, "Writes that a fence holds."), &["slice"])?,
            waited: times(names::FENCE_WAITED, "How long writes were held that then went on.")?,
            refused: IntCounterVec::new(
                Opts::new(names::FENCE_REFUSED, "Writes answered with 503 because of a fence, by why."),
                &["slice", "reason"],
            )?,
        };
        registry.register(Box::new(families.standing.clone()))?;
        registry.register(Box::new(families.ended.clone()))?;
        registry.register(Box::new(families.held.clone()))?;
        registry.register(Box::new(families.waiting.clone()))?;
        registry.register(Box::new(families.waited.clone()))?;
        registry.register(Box::new(families.refused.clone()))?;
        Ok(families)
    }

    pub(super) fn of(&self, slice: &str) -> GateMetrics {
        GateMetrics {
            slice: slice.to_owned(),
            standing: self.standing.with_label_values(&[slice]),
            lifted: self.ended.with_label_values(&[slice, "lifted"]),
            expired: self.ended.with_label_values(&[slice, "expired"]),
            held: self.held.with_label_values(&[slice]),
            waiting: self.waiting.with_label_values(&[slice]),
            waited: self.waited.with_label_values(&[slice]),
            too_many: self.refused.with_label_values(&[slice, "too_many"]),
            too_long: self.refused.with_label_values(&[slice, "too_long"]),
        }
    }
}

impl GateMetrics {
    pub(super) fn placed(&self) {
        self.standing.set(1);
    }

    pub(super) fn held(&self, time: Duration) {
        self.standing.set(0);
        self.held.observe(time.as_secs_f64());
    }

    pub(super) fn waited(&self, time: Duration) {
        self.waited.observe(time.as_secs_f64());
    }
}
