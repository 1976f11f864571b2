//! What becomes of lookups.

use std::sync::LazyLock;

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, register_int_counter, register_int_gauge};

/// Names, as dashboards and alerts know them.
pub mod names {
    /// Counter: lookups of functions by `outcome`: `hit`, `miss` (read and kept), `joined` (another call's lookup),
    /// `taken` (another replica reads it to keep it, and this call read it too), or why the store was not asked or
    /// was of no use: `down`, `timeout`, `error`.
    pub const LOOKUPS_TOTAL: &str = "lambda_function_lookups_total";
    /// Gauge: whether the Redis of the cache answers; absent where none is configured.
    pub const UP: &str = "lambda_function_cache_up";
    /// Counter: changed functions that Redis was not told to forget; each may be served as it was for as long as it
    /// may be kept.
    pub const NOT_FORGOTTEN_TOTAL: &str = "lambda_function_cache_not_forgotten_total";
}

const ONCE: &str = "each name is registered once, here, and is a valid name";

/// Every outcome of a lookup.
const OUTCOMES: [&str; 7] = ["hit", "miss", "joined", "taken", "down", "timeout", "error"];

static LOOKUPS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new(names::LOOKUPS_TOTAL, "Lookups of functions.");
    let lookups = prometheus::register_int_counter_vec!(options, &["outcome"]).expect(ONCE);
    // At zero from the start: a rate of the first would else be nothing.
    for outcome in OUTCOMES {
        let _ = lookups.with_label_values(&[outcome]);
    }
    lookups
});

static UP: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!(names::UP, "Whether the Redis of the cache answers.").expect(ONCE));

static NOT_FORGOTTEN: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(names::NOT_FORGOTTEN_TOTAL, "Changed functions that Redis was not told to forget.")
        .expect(ONCE)
});

pub(super) fn looked_up(outcome: &'static str) {
    LOOKUPS.with_label_values(&[outcome]).inc();
}

pub(super) fn up(is_up: bool) {
    UP.set(i64::from(is_up));
    LazyLock::force(&NOT_FORGOTTEN);
}

pub(super) fn not_forgotten() {
    NOT_FORGOTTEN.inc();
}
