//! Metrics of events.

use std::{sync::LazyLock, time::Duration};

use domain::EventType;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, register_gauge, register_histogram,
    register_int_counter, register_int_counter_vec, register_int_gauge_vec,
};

use crate::store::QueueDepth;

/// Names, as dashboards and alerts know them.
pub mod names {
    /// Counter: events that were accepted, by `type`.
    pub const EVENTS_ACCEPTED_TOTAL: &str = "lambda_events_accepted_total";
    /// Counter: events that ended, by `type` and `outcome` (`success`, `dead_letter`, `dropped`: its function is gone,
    /// `repeated`: it had ended before).
    pub const EVENTS_ENDED_TOTAL: &str = "lambda_events_ended_total";
    /// Counter: events that were put back, by `reason` (`failed`: its function did, `deferred`: no fault of its own,
    /// `draining`) or `lost` to another worker.
    pub const EVENTS_PUT_BACK_TOTAL: &str = "lambda_events_put_back_total";
    /// Histogram: seconds from an event's acceptance to its end.
    pub const EVENT_AGE_SECONDS: &str = "lambda_event_age_seconds";
    /// Gauge: events by `state` (`waiting`, `in_flight`), of all replicas.
    pub const EVENT_QUEUE: &str = "lambda_event_queue";
    /// Gauge: seconds that the oldest event has been there.
    pub const EVENT_QUEUE_OLDEST_SECONDS: &str = "lambda_event_queue_oldest_seconds";
    /// Counter: dead letters whose event was accepted again.
    pub const DEAD_LETTERS_RETRIED_TOTAL: &str = "lambda_dead_letters_retried_total";
    /// Counter: events that a broker was told of.
    pub const EVENTS_ANNOUNCED_TOTAL: &str = "lambda_events_announced_total";
}

struct Metrics {
    accepted: IntCounterVec,
    ended: IntCounterVec,
    put_back: IntCounterVec,
    age: Histogram,
    queue: IntGaugeVec,
    oldest: Gauge,
    retried: IntCounter,
    announced: IntCounter,
}

const ONCE: &str = "each name is registered once, here, and is a valid name";

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let counter = |name: &str, help: &str| register_int_counter!(Opts::new(name, help)).expect(ONCE);
    let counters =
        |name: &str, help: &str, labels: &[&str]| register_int_counter_vec!(Opts::new(name, help), labels).expect(ONCE);
    let ages = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0];
    let age = HistogramOpts::new(names::EVENT_AGE_SECONDS, "Time from an event's acceptance to its end.").buckets(ages);
    Metrics {
        accepted: counters(names::EVENTS_ACCEPTED_TOTAL, "Events that were accepted.", &["type"]),
        ended: counters(names::EVENTS_ENDED_TOTAL, "Events that ended.", &["type", "outcome"]),
        put_back: counters(names::EVENTS_PUT_BACK_TOTAL, "Events that were put back.", &["reason"]),
        age: register_histogram!(age).expect(ONCE),
        queue: register_int_gauge_vec!(Opts::new(names::EVENT_QUEUE, "Events of all replicas."), &["state"])
            .expect(ONCE),
        oldest: register_gauge!(Opts::new(names::EVENT_QUEUE_OLDEST_SECONDS, "Age of the oldest event.")).expect(ONCE),
        retried: counter(names::DEAD_LETTERS_RETRIED_TOTAL, "Dead letters whose event was accepted again."),
        announced: counter(names::EVENTS_ANNOUNCED_TOTAL, "Events that a broker was told of."),
    }
});

pub(super) fn accepted(event_type: EventType) {
    METRICS.accepted.with_label_values(&[event_type.as_str()]).inc();
}

pub(super) fn ended(event_type: EventType, outcome: &str, age: Duration) {
    METRICS.ended.with_label_values(&[event_type.as_str(), outcome]).inc();
    METRICS.age.observe(age.as_secs_f64());
}

pub(super) fn put_back(reason: &str) {
    METRICS.put_back.with_label_values(&[reason]).inc();
}

pub(super) fn dead_letter_retried() {
    METRICS.retried.inc();
}

pub(super) fn announced(events: usize) {
    METRICS.announced.inc_by(events as u64);
}

pub(super) fn depth(depth: QueueDepth) {
    for (state, count) in [("waiting", depth.waiting), ("in_flight", depth.in_flight)] {
        METRICS.queue.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    METRICS.oldest.set(depth.oldest.as_secs_f64());
}
