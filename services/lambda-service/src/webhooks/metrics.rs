//! Metrics of webhooks in.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, Opts, register_int_counter_vec};

/// Names, as dashboards and alerts know them.
pub mod names {
    /// Counter: requests to webhooks by `outcome`: `received`, `unknown`, `unsigned`, `forged`, `expired`,
    /// `not_accepted`.
    pub const WEBHOOKS_RECEIVED_TOTAL: &str = "lambda_webhooks_received_total";
}

static RECEIVED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(Opts::new(names::WEBHOOKS_RECEIVED_TOTAL, "Requests to webhooks."), &["outcome"])
        .expect("the name is registered once, here, and is valid")
});

pub(crate) fn received(outcome: &str) {
    RECEIVED.with_label_values(&[outcome]).inc();
}
