//! Metrics of cron triggers.

use std::sync::LazyLock;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, register_histogram, register_int_counter_vec};

/// Names, as dashboards and alerts know them.
pub mod names {
    /// Counter: firings by `outcome` (`fired`, `repeated`: it had become an event before, `unreadable`: the trigger was
    /// taken out of the schedule).
    pub const CRON_FIRINGS_TOTAL: &str = "lambda_cron_firings_total";
    /// Histogram: seconds from when a firing was due to when it became an event; missed runs are late.
    pub const CRON_LATENESS_SECONDS: &str = "lambda_cron_lateness_seconds";
}

const ONCE: &str = "each name is registered once, here, and is a valid name";

static FIRINGS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(Opts::new(names::CRON_FIRINGS_TOTAL, "Firings of cron triggers."), &["outcome"])
        .expect(ONCE)
});

static LATENESS: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0];
    let help = "Time from when a firing was due to its event.";
    register_histogram!(HistogramOpts::new(names::CRON_LATENESS_SECONDS, help).buckets(buckets)).expect(ONCE)
});

pub(super) fn firings(outcome: &str, count: usize) {
    FIRINGS.with_label_values(&[outcome]).inc_by(count as u64);
}

pub(super) fn lateness(seconds: f64) {
    LATENESS.observe(seconds);
}
