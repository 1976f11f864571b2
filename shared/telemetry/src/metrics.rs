//! The process's Prometheus registry.
//!
//! Metrics register with `prometheus`'s default registry, which knows the process's CPU time,
//! memory and file descriptors by itself. Names follow OpenTelemetry's semantic conventions
//! in Prometheus form (unit as suffix, `_total` on counters).

use std::sync::{Mutex, Once, PoisonError};

use prometheus::{Encoder, PullingGauge, TextEncoder};
use tokio::runtime::Handle;

use crate::openmetrics;

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
    /// Gauge: asynchronous tasks that have not ended, of all runtimes that are watched.
    pub const TOKIO_ALIVE_TASKS: &str = "tokio_alive_tasks";
}

/// The runtimes whose tasks are counted.
static RUNTIMES: Mutex<Vec<Handle>> = Mutex::new(Vec::new());

/// Counts the tasks of the runtime that the caller runs on from now on, with those of others that are watched.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn watch_runtime() {
    static REGISTERED: Once = Once::new();
    RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner).push(Handle::current());
    REGISTERED.call_once(|| {
        let gauge = PullingGauge::new(names::TOKIO_ALIVE_TASKS, "Tasks that have not ended.", Box::new(alive_tasks));
        let registered = gauge.and_then(|gauge| prometheus::default_registry().register(Box::new(gauge)));
        if let Err(error) = registered {
            tracing::error!(%error, "tasks are not counted");
        }
    });
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53 tasks")]
fn alive_tasks() -> f64 {
    let runtimes = RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner);
    runtimes.iter().map(|runtime| runtime.metrics().num_alive_tasks()).sum::<usize>() as f64
}

/// Every metric of this process with its content type, as the `Accept` header of whoever asks has it:
/// OpenMetrics, which alone has exemplars, or Prometheus' text.
#[must_use]
pub fn render(accept: Option<&str>) -> (&'static str, String) {
    let families = prometheus::gather();
    if accept.is_some_and(prefers_openmetrics) {
        return (openmetrics::CONTENT_TYPE, openmetrics::render(&families));
    }
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
        // One bad metric must not hide the others: what was written until then is answered.
        tracing::error!(%error, "a metric could not be written");
    }
    (prometheus::TEXT_FORMAT, String::from_utf8_lossy(&text).into_owned())
}

/// Whether the header names OpenMetrics, and no other text before it: RFC 9110, 12.5.1. Of its versions
/// 1.0.0 is as good as an earlier one that is asked for, which it only says more precisely.
fn prefers_openmetrics(accept: &str) -> bool {
    let quality = |wanted: &str| {
        let ranges = accept.split(',').map(|range| range.split(';').map(str::trim));
        ranges
            .filter_map(|mut range| {
                range.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
                Some(range.find_map(|parameter| parameter.strip_prefix("q=")?.parse::<f64>().ok()).unwrap_or(1.0))
            })
            .fold(0.0, f64::max)
    };
    let openmetrics = quality("application/openmetrics-text");
    openmetrics > 0.0 && openmetrics >= quality("text/plain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_are_counted_while_they_live() {
        watch_runtime();
        let tasks = || alive_tasks();
        let before = tasks();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async { drop(ended.await) });
        assert_eq!(tasks(), before + 1.0);
        drop(end);
        task.await.unwrap();
        assert!(render(None).1.contains(names::TOKIO_ALIVE_TASKS));
    }

    #[test]
    fn whoever_prefers_openmetrics_gets_it() {
        for (accept, preferred) in [
            // As Prometheus asks.
            ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", true),
            ("text/plain;version=0.0.4;q=0.9, Application/OpenMetrics-Text; q=0.9", true),
            ("application/openmetrics-text", true),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=0.2, text/plain", false),
            ("text/html, */*", false),
            ("", false),
        ] {
            assert_eq!(prefers_openmetrics(accept), preferred, "{accept}");
        }
        assert_eq!(render(None).0, prometheus::TEXT_FORMAT);
        let (content_type, text) = render(Some("application/openmetrics-text"));
        assert_eq!((content_type, text.ends_with("# EOF\n")), (openmetrics::CONTENT_TYPE, true));
    }
}
