//! The service's own metrics.

use std::{sync::LazyLock, time::Duration};

use domain::BuildState;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, register_gauge,
    register_histogram, register_int_counter, register_int_counter_vec, register_int_gauge, register_int_gauge_vec,
};

use crate::{intake::IntakeError, store::QueueState};

/// Names, as dashboards and alerts know them.
pub mod names {
    /// Counter: builds that were accepted.
    pub const ACCEPTED_TOTAL: &str = "build_accepted_total";
    /// Counter: bytes of packages that were accepted.
    pub const PACKAGE_BYTES_TOTAL: &str = "build_package_bytes_total";
    /// Counter: requests that were refused by `reason`: that of a package, or of the request.
    pub const REFUSED_TOTAL: &str = "build_requests_refused_total";
    /// Gauge: builds by `state` (`queued`, `building`), of all masters and workers together.
    pub const QUEUE_JOBS: &str = "build_queue_jobs";
    /// Gauge: seconds since the oldest build that nobody has taken was asked for.
    pub const QUEUE_OLDEST_SECONDS: &str = "build_queue_oldest_seconds";
    /// Gauge: builds in this process.
    pub const RUNNING: &str = "build_running";
    /// Histogram: seconds from asking for a build to its being taken the first time.
    pub const QUEUE_WAIT_SECONDS: &str = "build_queue_wait_seconds";
    /// Histogram: seconds of a build, from being taken to its end.
    pub const DURATION_SECONDS: &str = "build_duration_seconds";
    /// Counter: builds that this process ended by `state` (`completed`, `failed`).
    pub const ENDED_TOTAL: &str = "build_ended_total";
    /// Counter: builds that failed by `cause`, the code of the failure.
    pub const FAILURES_TOTAL: &str = "build_failures_total";
    /// Counter: requests for functions of inline code by `outcome`: `created`, `function_exists`, `not_registered`.
    pub const CREATIONS_TOTAL: &str = "build_creations_total";
    /// Counter: builds that this process lost to another, or to a client that cancelled.
    pub const LEASES_LOST_TOTAL: &str = "build_leases_lost_total";
    /// Counter: webhook attempts by `outcome` (`delivered`, `again`, `given_up`).
    pub const WEBHOOK_ATTEMPTS_TOTAL: &str = "build_webhook_attempts_total";
    /// Histogram: seconds of a webhook attempt.
    pub const WEBHOOK_DURATION_SECONDS: &str = "build_webhook_duration_seconds";
}

/// From a build of a few files to one that is as large as may be.
const BUILD_BUCKETS_S: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0];

struct Metrics {
    accepted: IntCounter,
    package_bytes: IntCounter,
    refused: IntCounterVec,
    queue_jobs: IntGaugeVec,
    queue_oldest: Gauge,
    running: IntGauge,
    queue_wait: Histogram,
    duration: Histogram,
    ended: IntCounterVec,
    failures: IntCounterVec,
    creations: IntCounterVec,
    leases_lost: IntCounter,
    webhook_attempts: IntCounterVec,
    webhook_duration: Histogram,
}

const ONCE: &str = "each name is registered once, here, and is a valid name";

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let seconds = |name: &str, help: &str| {
        register_histogram!(HistogramOpts::new(name, help).buckets(BUILD_BUCKETS_S.to_vec())).expect(ONCE)
    };
    let counter = |name: &str, help: &str| register_int_counter!(Opts::new(name, help)).expect(ONCE);
    let counters =
        |name: &str, help: &str, label: &str| register_int_counter_vec!(Opts::new(name, help), &[label]).expect(ONCE);
    Metrics {
        accepted: counter(names::ACCEPTED_TOTAL, "Builds that were accepted."),
        package_bytes: counter(names::PACKAGE_BYTES_TOTAL, "Bytes of packages that were accepted."),
        refused: counters(names::REFUSED_TOTAL, "Requests that were refused.", "reason"),
        queue_jobs: register_int_gauge_vec!(Opts::new(names::QUEUE_JOBS, "Builds that have not ended."), &["state"])
            .expect(ONCE),
        queue_oldest: register_gauge!(Opts::new(names::QUEUE_OLDEST_SECONDS, "Age of the oldest waiting build."))
            .expect(ONCE),
        running: register_int_gauge!(Opts::new(names::RUNNING, "Builds in this process.")).expect(ONCE),
        queue_wait: seconds(names::QUEUE_WAIT_SECONDS, "Time from asking for a build to its being taken."),
        duration: seconds(names::DURATION_SECONDS, "Time of a build."),
        ended: counters(names::ENDED_TOTAL, "Builds that ended.", "state"),
        failures: counters(names::FAILURES_TOTAL, "Builds that failed.", "cause"),
        creations: counters(names::CREATIONS_TOTAL, "Functions of inline code that were asked for.", "outcome"),
        leases_lost: counter(names::LEASES_LOST_TOTAL, "Builds that were lost to another."),
        webhook_attempts: counters(names::WEBHOOK_ATTEMPTS_TOTAL, "Webhook attempts.", "outcome"),
        webhook_duration: seconds(names::WEBHOOK_DURATION_SECONDS, "Time of a webhook attempt."),
    }
});

pub(crate) fn accepted(bytes: u64) {
    METRICS.accepted.inc();
    METRICS.package_bytes.inc_by(bytes);
}

pub(crate) fn refused(error: &IntakeError) {
    let reason = match error {
        IntakeError::Busy => "busy",
        IntakeError::Slow(_) => "slow",
        IntakeError::MediaType => "media_type",
        IntakeError::Malformed(_) => "malformed",
        IntakeError::TooLarge { .. } => "too_large",
        IntakeError::Field(_) => "field",
        IntakeError::Package(refusal) => refusal.code(),
        IntakeError::Disk(_) => "disk",
        IntakeError::Objects(_) => "objects",
    };
    METRICS.refused.with_label_values(&[reason]).inc();
}

pub(crate) fn queue(state: QueueState) {
    for (name, jobs) in [(BuildState::Queued, state.queued), (BuildState::Building, state.building)] {
        METRICS.queue_jobs.with_label_values(&[name.as_str()]).set(i64::try_from(jobs).unwrap_or(i64::MAX));
    }
    METRICS.queue_oldest.set(state.oldest.as_secs_f64());
}

pub(crate) fn taken(attempt: i32, waited: Duration) {
    METRICS.running.inc();
    if attempt == 1 {
        METRICS.queue_wait.observe(waited.as_secs_f64());
    }
}

pub(crate) fn left() {
    METRICS.running.dec();
}

pub(crate) fn completed(took: Duration) {
    METRICS.duration.observe(took.as_secs_f64());
    METRICS.ended.with_label_values(&[BuildState::Completed.as_str()]).inc();
}

pub(crate) fn failed(took: Duration, cause: &str) {
    METRICS.duration.observe(took.as_secs_f64());
    METRICS.ended.with_label_values(&[BuildState::Failed.as_str()]).inc();
    METRICS.failures.with_label_values(&[cause]).inc();
}

pub(crate) fn abandoned(jobs: usize, cause: &str) {
    let jobs = jobs as u64;
    METRICS.ended.with_label_values(&[BuildState::Failed.as_str()]).inc_by(jobs);
    METRICS.failures.with_label_values(&[cause]).inc_by(jobs);
}

pub(crate) fn creation(outcome: Result<(), &'static str>) {
    METRICS.creations.with_label_values(&[outcome.err().unwrap_or("created")]).inc();
}

pub(crate) fn lease_lost() {
    METRICS.leases_lost.inc();
}

pub(crate) fn webhook(outcome: &'static str, took: Duration) {
    METRICS.webhook_attempts.with_label_values(&[outcome]).inc();
    METRICS.webhook_duration.observe(took.as_secs_f64());
}
