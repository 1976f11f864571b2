//! The service's own metrics.

use std::{sync::LazyLock, time::Duration};

use domain::ExecutionStatus;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, register_histogram,
    register_int_counter, register_int_counter_vec, register_int_gauge, register_int_gauge_vec,
};
use telemetry::metrics::DURATION_BUCKETS_S;

use crate::pool::{Counts, Purpose};

/// Names, as dashboards and alerts know them.
pub mod names {
    /// Counter: executions by `outcome` (`success`, `failed`, `timeout`, `cancelled`) and `start`
    /// (`warm`, `cold`).
    pub const INVOCATIONS_TOTAL: &str = "lambda_invocations_total";
    /// Counter: invocations that were refused by `reason` (`saturated`, `history_full`, `closing`,
    /// `not_started`).
    pub const INVOCATIONS_REFUSED_TOTAL: &str = "lambda_invocations_refused_total";
    /// Histogram: seconds that the function ran.
    pub const INVOCATION_DURATION_SECONDS: &str = "lambda_invocation_duration_seconds";
    /// Histogram: seconds from asking for a worker to having one.
    pub const QUEUE_WAIT_SECONDS: &str = "lambda_queue_wait_seconds";
    /// Histogram: seconds from starting a worker to its code being loaded.
    pub const WORKER_START_SECONDS: &str = "lambda_worker_start_seconds";
    /// Counter: workers that did not start.
    pub const WORKER_START_FAILURES_TOTAL: &str = "lambda_worker_start_failures_total";
    /// Counter: cold starts for which an interpreter could have waited, by whether one did (`hit`, `miss`).
    pub const PREWARMED_TOTAL: &str = "lambda_prewarmed_total";
    /// Histogram: CPU seconds that a call took, with every process that it started; only where control groups count it.
    pub const INVOCATION_CPU_SECONDS: &str = "lambda_invocation_cpu_seconds";
    /// Gauge: workers by `state` (`starting`, `idle`, `busy`).
    pub const POOL_WORKERS: &str = "lambda_pool_workers";
    /// Gauge: calls that wait for a worker.
    pub const POOL_WAITING: &str = "lambda_pool_waiting";
    /// Counter: requests that asked to be dry runs by `outcome`: `success`, `failed`, `timeout`, or the code of
    /// the refusal. No other counter of executions knows them.
    pub const DRY_RUNS_TOTAL: &str = "lambda_dry_runs_total";
    /// Gauge: workers of dry runs by `state`, as those of live calls.
    pub const DRY_RUN_WORKERS: &str = "lambda_dry_run_workers";
    /// Counter: packages by what became of them (`hit`: found on the disk by the start of a worker, `fetched`,
    /// `evicted`).
    pub const PACKAGES_TOTAL: &str = "lambda_packages_total";
    /// Gauge: what packages take on the disk.
    pub const PACKAGE_BYTES: &str = "lambda_package_cache_bytes";
    /// Gauge: executions that the database does not have yet.
    pub const RECORDER_PENDING: &str = "lambda_recorder_pending_rows";
    /// Counter: executions by what became of their row (`inserted`, `function_deleted`, `refused`).
    /// Rows that were there already, which a replayed journal may bring, count as
    /// `function_deleted` too: one statement cannot tell them apart cheaply.
    pub const RECORDER_ROWS_TOTAL: &str = "lambda_recorder_rows_total";
    /// Counter: batches that reached the database.
    pub const RECORDER_BATCHES_TOTAL: &str = "lambda_recorder_batches_total";
    /// Counter: batches that failed and were tried again.
    pub const RECORDER_BATCH_FAILURES_TOTAL: &str = "lambda_recorder_batch_failures_total";
    /// Counter: rows that the journal refused.
    pub const JOURNAL_FAILURES_TOTAL: &str = "lambda_journal_failures_total";
}

struct Metrics {
    invocations: IntCounterVec,
    refused: IntCounterVec,
    duration: Histogram,
    queue_wait: Histogram,
    worker_start: Histogram,
    worker_start_failures: IntCounter,
    prewarmed: IntCounterVec,
    cpu: Histogram,
    workers: IntGaugeVec,
    waiting: IntGauge,
    dry_runs: IntCounterVec,
    dry_run_workers: IntGaugeVec,
    packages: IntCounterVec,
    package_bytes: IntGauge,
    pending: IntGauge,
    rows: IntCounterVec,
    batches: IntCounter,
    batch_failures: IntCounter,
    journal_failures: IntCounter,
}

/// Why invocations are refused.
const REFUSALS: [&str; 4] = ["saturated", "history_full", "closing", "not_started"];

const ONCE: &str = "each name is registered once, here, and is a valid name";

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let seconds = |name: &str, help: &str| {
        register_histogram!(HistogramOpts::new(name, help).buckets(DURATION_BUCKETS_S.to_vec())).expect(ONCE)
    };
    let counter = |name: &str, help: &str| register_int_counter!(Opts::new(name, help)).expect(ONCE);
    let counters =
        |name: &str, help: &str, labels: &[&str]| register_int_counter_vec!(Opts::new(name, help), labels).expect(ONCE);
    let gauge = |name: &str, help: &str| register_int_gauge!(Opts::new(name, help)).expect(ONCE);
    let refused = counters(names::INVOCATIONS_REFUSED_TOTAL, "Invocations that were refused.", &["reason"]);
    // At zero from the start: a rate of the first refusal would else be nothing.
    for reason in REFUSALS {
        let _ = refused.with_label_values(&[reason]);
    }
    Metrics {
        invocations: counters(names::INVOCATIONS_TOTAL, "Executions.", &["outcome", "start"]),
        refused,
        duration: seconds(names::INVOCATION_DURATION_SECONDS, "Time that the function ran."),
        queue_wait: seconds(names::QUEUE_WAIT_SECONDS, "Time from asking for a worker to having one."),
        worker_start: seconds(names::WORKER_START_SECONDS, "Time to start a worker."),
        worker_start_failures: counter(names::WORKER_START_FAILURES_TOTAL, "Workers that did not start."),
        prewarmed: counters(names::PREWARMED_TOTAL, "Cold starts by whether an interpreter waited.", &["outcome"]),
        cpu: seconds(names::INVOCATION_CPU_SECONDS, "CPU time of calls."),
        workers: register_int_gauge_vec!(Opts::new(names::POOL_WORKERS, "Workers."), &["state"]).expect(ONCE),
        waiting: gauge(names::POOL_WAITING, "Calls that wait for a worker."),
        dry_runs: counters(names::DRY_RUNS_TOTAL, "Requests that asked to be dry runs.", &["outcome"]),
        dry_run_workers: register_int_gauge_vec!(Opts::new(names::DRY_RUN_WORKERS, "Workers of dry runs."), &["state"])
            .expect(ONCE),
        packages: counters(names::PACKAGES_TOTAL, "Packages by what became of them.", &["event"]),
        package_bytes: gauge(names::PACKAGE_BYTES, "What packages take on the disk."),
        pending: gauge(names::RECORDER_PENDING, "Executions that the database does not have yet."),
        rows: counters(names::RECORDER_ROWS_TOTAL, "Executions by what became of their row.", &["result"]),
        batches: counter(names::RECORDER_BATCHES_TOTAL, "Batches that reached the database."),
        batch_failures: counter(names::RECORDER_BATCH_FAILURES_TOTAL, "Batches that were tried again."),
        journal_failures: counter(names::JOURNAL_FAILURES_TOTAL, "Rows that the journal refused."),
    }
});

const fn start(is_warm: bool) -> &'static str {
    if is_warm { "warm" } else { "cold" }
}

pub(crate) fn invoked(status: ExecutionStatus, is_warm: bool, duration: Duration) {
    METRICS.invocations.with_label_values(&[status.as_str(), start(is_warm)]).inc();
    METRICS.duration.observe(duration.as_secs_f64());
}

pub(crate) fn used_cpu(cpu_time: Duration) {
    METRICS.cpu.observe(cpu_time.as_secs_f64());
}

pub(crate) fn prewarmed(outcome: &'static str) {
    METRICS.prewarmed.with_label_values(&[outcome]).inc();
}

pub(crate) fn cancelled(is_warm: bool) {
    METRICS.invocations.with_label_values(&["cancelled", start(is_warm)]).inc();
}

pub(crate) fn refused(reason: &'static str) {
    METRICS.refused.with_label_values(&[reason]).inc();
}

pub(crate) fn queued(wait: Duration) {
    METRICS.queue_wait.observe(wait.as_secs_f64());
}

pub(crate) fn worker_started(took: Duration, started: bool) {
    if started {
        METRICS.worker_start.observe(took.as_secs_f64());
    } else {
        METRICS.worker_start_failures.inc();
    }
}

pub(crate) fn dry_run(outcome: &str) {
    METRICS.dry_runs.with_label_values(&[outcome]).inc();
}

pub(crate) fn pool(purpose: Purpose, counts: Counts) {
    let workers = match purpose {
        Purpose::Live => &METRICS.workers,
        Purpose::DryRun => &METRICS.dry_run_workers,
    };
    for (state, count) in [("starting", counts.starting), ("idle", counts.idle), ("busy", counts.busy)] {
        workers.with_label_values(&[state]).set(gauge_value(count));
    }
    if purpose == Purpose::Live {
        METRICS.waiting.set(gauge_value(counts.waiting));
    }
}

pub(crate) fn package(event: &'static str) {
    METRICS.packages.with_label_values(&[event]).inc();
}

pub(crate) fn package_bytes(bytes: u64) {
    METRICS.package_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
}

pub(crate) fn recorder_pending(rows: usize) {
    METRICS.pending.set(gauge_value(rows));
}

pub(crate) fn batch_written(inserted: u64, left_out: u64) {
    METRICS.batches.inc();
    METRICS.rows.with_label_values(&["inserted"]).inc_by(inserted);
    METRICS.rows.with_label_values(&["function_deleted"]).inc_by(left_out);
}

pub(crate) fn batch_failed() {
    METRICS.batch_failures.inc();
}

pub(crate) fn row_refused() {
    METRICS.rows.with_label_values(&["refused"]).inc();
}

pub(crate) fn journal_failed() {
    METRICS.journal_failures.inc();
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
