//! What authentication counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{AuthMethod, AuthProblem};
use crate::metrics::names;

/// The metrics.
pub(crate) struct AuthMetrics {
    accepted: [IntCounter; 2],
    refused: IntCounterVec,
    pub(super) cache_hits: IntCounter,
    pub(super) cache_misses: IntCounter,
    keys: IntGaugeVec,
    confirmed: IntGaugeVec,
    refreshes: IntCounterVec,
}

/// The metrics of one source of keys.
pub(super) struct SourceMetrics {
    /// How many keys are in force.
    pub(super) keys: IntGauge,
    /// When they were last seen to be the issuer's, in seconds since 1970.
    pub(super) confirmed: IntGauge,
    pub(super) read: IntCounter,
    pub(super) failed: IntCounter,
}

impl AuthMetrics {
    /// Makes the metrics and registers them.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, label: &[&str]| IntCounterVec::new(Opts::new(name, help), label);
        let gauges = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["source"]);
        let accepted = counters(names::AUTH_ACCEPTED, "Callers that proved who they are.", &["method"])?;
        let refused = counters(names::AUTH_REFUSED, "Callers that did not.", &["reason"])?;
        let cache = counters(names::AUTH_CACHE, "Tokens looked up among those verified before.", &["outcome"])?;
        let keys = gauges(names::AUTH_KEYS, "Keys in force.")?;
        let confirmed = gauges(names::AUTH_KEYS_CONFIRMED, "When keys were last read from their source, Unix time.")?;
        let refreshes = counters(names::AUTH_KEY_REFRESHES, "Readings of keys.", &["source", "outcome"])?;
        for counters in [&accepted, &refused, &cache, &refreshes] {
            registry.register(Box::new(counters.clone()))?;
        }
        for gauges in [&keys, &confirmed] {
            registry.register(Box::new(gauges.clone()))?;
        }
        Ok(Self {
            accepted: [AuthMethod::Jwt, AuthMethod::ApiKey]
                .map(|method| accepted.with_label_values(&[method.as_str()])),
            refused,
            cache_hits: cache.with_label_values(&["hit"]),
            cache_misses: cache.with_label_values(&["miss"]),
            keys,
            confirmed,
            refreshes,
        })
    }

    pub(super) fn accepted(&self, method: AuthMethod) {
        self.accepted[method as usize].inc();
    }

    pub(super) fn refused(&self, problem: AuthProblem) {
        self.refused.with_label_values(&[problem.code()]).inc();
    }

    pub(super) fn source(&self, name: &str) -> SourceMetrics {
        SourceMetrics {
            keys: self.keys.with_label_values(&[name]),
            confirmed: self.confirmed.with_label_values(&[name]),
            read: self.refreshes.with_label_values(&[name, "ok"]),
            failed: self.refreshes.with_label_values(&[name, "failed"]),
        }
    }
}
