//! What is counted about guards and ramps.

use judgement::{Evidence, Metric, Verdict};
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::metrics::names;

/// The metrics, to be resolved for each route.
pub(super) struct Families {
    e_values: GaugeVec,
    verdicts: IntGaugeVec,
    steps: IntGaugeVec,
    lease_ages: GaugeVec,
    rollbacks: IntCounterVec,
}

/// Those of one route.
pub(super) struct RampMetrics {
    e_values: [Gauge; Metric::ALL.len()],
    verdict: IntGauge,
    step: IntGauge,
    lease_age: Gauge,
    rollbacks: IntCounter,
}

impl Families {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let route = &["route"];
        let e_values = GaugeVec::new(
            Opts::new(names::GUARD_E_VALUE, "Evidence against the candidate, as a share of what rolls it back."),
            &["route", "metric"],
        )?;
        let verdicts =
            IntGaugeVec::new(Opts::new(names::GUARD_VERDICT, "0 no data, 1 continue, 2 roll back, by route."), route)?;
        let steps =
            IntGaugeVec::new(Opts::new(names::RAMP_STEP, "The step of a ramp under way, from 1; 0 for none."), route)?;
        let lease_ages = GaugeVec::new(
            Opts::new(names::RAMP_LEASE_AGE, "Seconds since the lease of a ramp was renewed; -1 for none."),
            route,
        )?;
        let rollbacks =
            IntCounterVec::new(Opts::new(names::GUARD_ROLLBACKS, "Routes that their guard took back."), route)?;
        registry.register(Box::new(e_values.clone()))?;
        registry.register(Box::new(verdicts.clone()))?;
        registry.register(Box::new(steps.clone()))?;
        registry.register(Box::new(lease_ages.clone()))?;
        registry.register(Box::new(rollbacks.clone()))?;
        Ok(Self { e_values, verdicts, steps, lease_ages, rollbacks })
    }

    pub(super) fn of(&self, route: &str) -> RampMetrics {
        let label = &[route];
        let metrics = RampMetrics {
            e_values: Metric::ALL.map(|metric| self.e_values.with_label_values(&[route, metric.as_str()])),
            verdict: self.verdicts.with_label_values(label),
            step: self.steps.with_label_values(label),
            lease_age: self.lease_ages.with_label_values(label),
            rollbacks: self.rollbacks.with_label_values(label),
        };
        metrics.ramp(None, None);
        metrics
    }
}

impl RampMetrics {
    pub(super) fn guard(&self, evidence: &Evidence, verdict: &Verdict) {
        for (gauge, metric) in self.e_values.iter().zip(&evidence.metrics) {
            gauge.set(metric.e_value / evidence.bound);
        }
        self.verdict.set(match verdict {
            Verdict::NoData => 0,
            Verdict::Continue => 1,
            Verdict::RollBack(_) => 2,
        });
    }

    /// The step, from 0, and the age of the lease.
    pub(super) fn ramp(&self, step: Option<usize>, lease_age_s: Option<f64>) {
        self.step.set(step.map_or(0, |step| i64::try_from(step + 1).unwrap_or(i64::MAX)));
        self.lease_age.set(lease_age_s.unwrap_or(-1.0));
    }

    pub(super) fn rolled_back(&self) {
        self.rollbacks.inc();
    }
}
