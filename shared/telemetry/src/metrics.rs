//! The process's Prometheus registry.
//!
//! Metrics register with `prometheus`'s default registry, which knows the process's CPU time,
//! memory and file descriptors by itself. Names follow OpenTelemetry's semantic conventions
//! in Prometheus form (unit as suffix, `_total` on counters).

use prometheus::{Encoder, TextEncoder};

/// Content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Bounds, in seconds, for the duration of requests: OpenTelemetry's for HTTP servers, and finer
/// ones below 5 ms, where a warm call lives.
pub const DURATION_BUCKETS_S: [f64; 19] = [
    0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
    10.0,
];

/// Names of the metrics that every HTTP service has.
pub mod names {
    /// Histogram: seconds from a request's arrival to its answer, by `method`, `route`, `status`.
    pub const HTTP_SERVER_REQUEST_DURATION_SECONDS: &str = "http_server_request_duration_seconds";
    /// Gauge: requests being answered.
    pub const HTTP_SERVER_ACTIVE_REQUESTS: &str = "http_server_active_requests";
}

/// Every metric of this process, in Prometheus text format.
#[must_use]
pub fn render() -> String {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&prometheus::gather(), &mut text) {
        // One bad metric must not hide the others: what was written until then is answered.
        tracing::error!(%error, "a metric could not be written");
    }
    String::from_utf8_lossy(&text).into_owned()
}
