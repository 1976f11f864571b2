//! What is counted of upstreams, and what is looked up when somebody asks.

use std::{sync::Arc, time::Instant};

use prometheus::{
    IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::{Upstream, Upstreams, circuit::Phase};
use crate::metrics::names;

/// The counters of one upstream.
#[derive(Debug)]
pub(crate) struct UpstreamCounters {
    pub(crate) ejections: IntCounter,
    pub(crate) breaker_opened: IntCounter,
    pub(crate) refused_overloaded: IntCounter,
    pub(crate) refused_open: IntCounter,
    pub(crate) retried: IntCounter,
    pub(crate) budget_exhausted: IntCounter,
    pub(crate) stale_connections: IntCounter,
}

/// The counters of every upstream.
pub(super) struct CounterFamilies {
    ejections: IntCounterVec,
    breaker_opened: IntCounterVec,
    refused: IntCounterVec,
    retries: IntCounterVec,
    stale_connections: IntCounterVec,
}

impl CounterFamilies {
    pub(super) fn new() -> Self {
        let vec = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).expect("names and labels are constants and valid")
        };
        Self {
            ejections: vec(names::EJECTIONS, "Addresses left out for a while because they failed.", &["upstream"]),
            breaker_opened: vec(names::BREAKER_OPENED, "Openings of the circuit breaker.", &["upstream"]),
            refused: vec(names::UPSTREAM_REFUSED, "Requests that were not sent, by why.", &["upstream", "reason"]),
            retries: vec(names::RETRIES, "Requests sent again, or not for want of budget.", &["upstream", "outcome"]),
            stale_connections: vec(
                names::STALE_CONNECTIONS,
                "Pooled connections that had ended before they were used.",
                &["upstream"],
            ),
        }
    }

    pub(super) fn of(&self, upstream: &str) -> UpstreamCounters {
        UpstreamCounters {
            ejections: self.ejections.with_label_values(&[upstream]),
            breaker_opened: self.breaker_opened.with_label_values(&[upstream]),
            refused_overloaded: self.refused.with_label_values(&[upstream, "overloaded"]),
            refused_open: self.refused.with_label_values(&[upstream, "open"]),
            retried: self.retries.with_label_values(&[upstream, "retried"]),
            budget_exhausted: self.retries.with_label_values(&[upstream, "budget_exhausted"]),
            stale_connections: self.stale_connections.with_label_values(&[upstream]),
        }
    }

    fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        for family in [&self.ejections, &self.breaker_opened, &self.refused, &self.retries, &self.stale_connections] {
            registry.register(Box::new(family.clone()))?;
        }
        Ok(())
    }
}

impl Upstreams {
    /// Registers the metrics of the upstreams.
    ///
    /// # Errors
    /// When the registry has metrics of these names already.
    pub fn register(self: &Arc<Self>, registry: &Registry) -> prometheus::Result<()> {
        self.families.register(registry)?;
        registry.register(Box::new(Gauges::new(self.clone())))
    }
}

/// Gauges that are read when they are asked for: a request pays nothing for them.
struct Gauges {
    upstreams: Arc<Upstreams>,
    in_flight: IntGaugeVec,
    addresses: IntGaugeVec,
    ejected: IntGaugeVec,
    breaker: IntGaugeVec,
}

impl Gauges {
    fn new(upstreams: Arc<Upstreams>) -> Self {
        let vec = |name: &str, help: &str| {
            IntGaugeVec::new(Opts::new(name, help), &["upstream"]).expect("names and labels are constants and valid")
        };
        Self {
            upstreams,
            in_flight: vec(names::UPSTREAM_IN_FLIGHT, "Requests in flight to an upstream."),
            addresses: vec(names::UPSTREAM_ADDRESSES, "Addresses of an upstream."),
            ejected: vec(names::UPSTREAM_EJECTED, "Addresses of an upstream that are left out or on probation."),
            breaker: vec(names::BREAKER_STATE, "The circuit breaker: 0 closed, 1 on probation, 2 open."),
        }
    }

    fn all(&self) -> [&IntGaugeVec; 4] {
        [&self.in_flight, &self.addresses, &self.ejected, &self.breaker]
    }

    fn read(&self, upstream: &Upstream) {
        let set = |gauge: &IntGaugeVec, value: usize| {
            gauge.with_label_values(&[&upstream.name]).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let addresses = upstream.addresses.load();
        set(&self.in_flight, usize::try_from(upstream.capacity.in_flight()).unwrap_or(usize::MAX));
        set(&self.addresses, addresses.len());
        set(&self.ejected, addresses.ejected());
        let phase = upstream.breaker.as_ref().map_or(Phase::Closed, |breaker| breaker.phase(Instant::now()));
        self.breaker.with_label_values(&[&upstream.name]).set(phase.severity());
    }
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.upstreams.iter().for_each(|(_, upstream)| self.read(upstream));
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}
