//! What is counted about limits.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};

use super::policy::{Policies, PolicyId};
use crate::metrics::names;

/// A round trip within one machine takes 50 µs; what takes longer than the last one has timed out.
const STORE_BUCKETS_S: [f64; 10] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];

/// Why Redis did not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    /// It was known to be unreachable.
    Down,
    /// It did not answer in time.
    Timeout,
    /// It answered with an error, or the connection broke.
    Error,
}

impl Fallback {
    const ALL: [Self; 3] = [Self::Down, Self::Timeout, Self::Error];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Timeout => "timeout",
            Self::Error => "error",
        }
    }
}

/// The limits' metrics, resolved for each policy.
pub(crate) struct LimitMetrics {
    policies: Vec<PolicyMetrics>,
    fallbacks: [IntCounter; Fallback::ALL.len()],
    pub(super) store_up: IntGauge,
    pub(super) store_duration: Histogram,
}

struct PolicyMetrics {
    admitted: IntCounter,
    limited: IntCounter,
    crowded: IntCounter,
    keys: IntGauge,
}

impl LimitMetrics {
    /// Makes them and registers them; those of Redis only where it is used.
    pub(super) fn new(registry: &Registry, policies: &Policies, redis: bool) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let decisions =
            counters(names::LIMIT_DECISIONS, "Requests that a limit policy was asked about.", &["policy", "outcome"])?;
        let crowded = counters(names::LIMIT_CROWDED, "Requests whose key found no room of its own.", &["policy"])?;
        let keys = IntGaugeVec::new(Opts::new(names::LIMIT_KEYS, "Keys with a budget in this process."), &["policy"])?;
        let fallbacks = counters(names::LIMIT_FALLBACKS, "Requests that Redis did not decide about.", &["why"])?;
        let store_up = IntGauge::new(names::LIMIT_STORE_UP, "1 while Redis decides about limits.")?;
        let store_duration = Histogram::with_opts(
            HistogramOpts::new(names::LIMIT_STORE_DURATION, "Time that Redis took to decide.")
                .buckets(STORE_BUCKETS_S.to_vec()),
        )?;
        let mut collectors: Vec<Box<dyn Collector>> =
            vec![Box::new(decisions.clone()), Box::new(crowded.clone()), Box::new(keys.clone())];
        if redis {
            collectors.extend([
                Box::new(fallbacks.clone()) as Box<dyn Collector>,
                Box::new(store_up.clone()),
                Box::new(store_duration.clone()),
            ]);
        }
        for collector in collectors {
            registry.register(collector)?;
        }
        let policies = policies.iter().map(|(_, policy)| PolicyMetrics {
            admitted: decisions.with_label_values(&[policy.name.as_str(), "admitted"]),
            limited: decisions.with_label_values(&[policy.name.as_str(), "limited"]),
            crowded: crowded.with_label_values(&[&policy.name]),
            keys: keys.with_label_values(&[&policy.name]),
        });
        Ok(Self {
            policies: policies.collect(),
            fallbacks: Fallback::ALL.map(|why| fallbacks.with_label_values(&[why.as_str()])),
            store_up,
            store_duration,
        })
    }

    pub(super) fn decided(&self, policy: PolicyId, admitted: bool) {
        let metrics = &self.policies[policy.0];
        if admitted { metrics.admitted.inc() } else { metrics.limited.inc() }
    }

    pub(super) fn crowded(&self, policy: PolicyId) {
        self.policies[policy.0].crowded.inc();
    }

    pub(super) fn keys_changed(&self, policy: PolicyId, by: i64) {
        self.policies[policy.0].keys.add(by);
    }

    pub(super) fn fell_back(&self, why: Fallback) {
        self.fallbacks[why as usize].inc();
    }
}
