//! What is counted about shadowing, for each route.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, PullingGauge,
    Registry, core::Collector,
};
use telemetry::{Exemplars, TraceContext, metrics::DURATION_BUCKETS_S};

use super::{
    budget::Pool,
    outcome::{Dropped, Outcome},
};
use crate::{decision::Side, metrics::names, request_context::InFlight};

/// The families that routes take their metrics from.
pub(super) struct Families {
    requests: IntCounterVec,
    in_flight: IntGaugeVec,
    duration: HistogramVec,
    noise: IntCounterVec,
}

/// What became of the requests of one route.
pub(super) struct RouteMetrics {
    outcomes: [IntCounter; Outcome::COUNT],
    in_flight: IntGauge,
    /// From choosing the address to the header of the answer, by side.
    duration: [(Histogram, Arc<Exemplars>); 2],
    /// Requests whose answers differed.
    different: Arc<Exemplars>,
    /// Answers of legacy that it was asked for once more.
    pub(super) noise_learnt: IntCounter,
    /// Those that did not come.
    pub(super) noise_failed: IntCounter,
}

impl Families {
    pub(super) fn register(registry: &Registry, memory: &Arc<Pool>) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new(names::SHADOW_REQUESTS, "Requests of routes that can be shadowed, by what became of the copy."),
            &["route", "outcome", "reason"],
        )?;
        let in_flight = IntGaugeVec::new(
            Opts::new(names::SHADOW_IN_FLIGHT, "Copies being sent or compared; each has no outcome yet."),
            &["route"],
        )?;
        let help = "Time to the header of the answer, of requests whose copy was answered too, by side.";
        let duration = HistogramVec::new(
            HistogramOpts::new(names::SHADOW_DURATION, help).buckets(DURATION_BUCKETS_S.to_vec()),
            &["route", "side"],
        )?;
        let noise = IntCounterVec::new(
            Opts::new(names::SHADOW_NOISE, "Requests sent to legacy once more to learn its noise."),
            &["route", "outcome"],
        )?;
        let pool = memory.clone();
        #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes")]
        let read = move || pool.taken() as f64;
        let bytes = PullingGauge::new(names::SHADOW_BYTES, "Memory held by copies and their answers.", Box::new(read))?;
        let collectors: [Box<dyn Collector>; 5] = [
            Box::new(requests.clone()),
            Box::new(in_flight.clone()),
            Box::new(duration.clone()),
            Box::new(noise.clone()),
            Box::new(bytes),
        ];
        for collector in collectors {
            registry.register(collector)?;
        }
        Ok(Self { requests, in_flight, duration, noise })
    }

    pub(super) fn of(&self, route: &str) -> RouteMetrics {
        let outcomes: Vec<IntCounter> = Outcome::all()
            .map(|outcome| {
                let [outcome, reason] = outcome.labels();
                self.requests.with_label_values(&[route, outcome, reason])
            })
            .collect();
        RouteMetrics {
            outcomes: outcomes.try_into().unwrap_or_else(|_| unreachable!("as many counters as outcomes")),
            in_flight: self.in_flight.with_label_values(&[route]),
            duration: Side::ALL.map(|side| {
                let labels = [("route", route), ("side", side.as_str())];
                let exemplars = Exemplars::of_histogram(names::SHADOW_DURATION, &labels, &DURATION_BUCKETS_S);
                (self.duration.with_label_values(&[route, side.as_str()]), exemplars)
            }),
            different: {
                let [outcome, reason] = Outcome::Different.labels();
                let labels = [("route", route), ("outcome", outcome), ("reason", reason)];
                Exemplars::of_counter(names::SHADOW_REQUESTS, &labels)
            },
            noise_learnt: self.noise.with_label_values(&[route, "learnt"]),
            noise_failed: self.noise.with_label_values(&[route, "failed"]),
        }
    }
}

impl RouteMetrics {
    pub(super) fn count(&self, outcome: Outcome) {
        self.outcomes[outcome.index()].inc();
    }

    pub(super) fn counted(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome.index()].get()
    }

    pub(super) fn answered(&self, side: Side, seconds: f64, trace: TraceContext) {
        let (duration, exemplars) = &self.duration[side.index()];
        duration.observe(seconds);
        exemplars.note(seconds, trace);
    }

    /// Names a request whose answers differed. It is counted with its outcome.
    pub(super) fn differed(&self, trace: TraceContext) {
        self.different.note(1.0, trace);
    }
}

/// A request whose outcome is not known yet. It gets one, whatever happens: dropping this counts too.
pub(super) struct Pending {
    metrics: Arc<RouteMetrics>,
    stopping: Arc<AtomicBool>,
    settled: bool,
    _in_flight: InFlight,
}

impl Pending {
    pub(super) fn new(metrics: &Arc<RouteMetrics>, stopping: &Arc<AtomicBool>, in_flight: InFlight) -> Self {
        metrics.in_flight.inc();
        Self { metrics: metrics.clone(), stopping: stopping.clone(), settled: false, _in_flight: in_flight }
    }

    pub(super) fn settle(mut self, outcome: Outcome) {
        self.settled = true;
        self.metrics.count(outcome);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        if !self.settled {
            let stopping = self.stopping.load(Ordering::Acquire);
            self.metrics.count(Outcome::Dropped(if stopping { Dropped::Shutdown } else { Dropped::Failed }));
        }
    }
}
