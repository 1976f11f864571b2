//! What every request passes through, and the routes that every service has.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::{HistogramVec, IntGauge, register_histogram_vec, register_int_gauge};
use serde_json::json;
use telemetry::{
    TRACEPARENT, TraceContext,
    metrics::{self, names},
};
use tracing::{Instrument, Span, field};

use crate::{HttpConfig, Lifecycle, readiness::Readiness};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Routes that every service has.
const OWN_PATHS: [&str; 4] = ["/livez", "/readyz", "/health", "/metrics"];

static DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        names::HTTP_SERVER_REQUEST_DURATION_SECONDS,
        "Seconds from a request's arrival to its answer",
        &["method", "route", "status"],
        metrics::DURATION_BUCKETS_S.to_vec()
    )
    .expect("the name is registered once, here")
});

static ACTIVE: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(names::HTTP_SERVER_ACTIVE_REQUESTS, "Requests being answered")
        .expect("the name is registered once, here")
});

/// The id of a request, from the gateway's `x-request-id` or, without one, from its trace.
/// A handler takes it as `Extension<RequestId>`.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// The application's router with the service's own routes and layers around it. The four paths of
/// the service are not the application's to define: axum refuses the overlap at the start.
pub(crate) fn router(application: Router, config: &HttpConfig, life: &Lifecycle) -> Router {
    let own = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready).with_state(life.readiness.clone()))
        .route("/health", get(|| async { Json(json!({"status": "healthy"})) }))
        .route("/metrics", get(all_metrics));
    application
        .merge(own)
        .layer(DefaultBodyLimit::max(config.body_limit.as_usize()))
        .layer(middleware::from_fn(observe))
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let missing = readiness.missing();
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": missing.is_empty(), "missing": missing}))).into_response()
}

async fn all_metrics(headers: HeaderMap) -> Response {
    let (content_type, text) = metrics::render(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

/// Spans, counts and times a request, and names it in the answer.
async fn observe(mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    // The template, never the path: a path as a label would be a label for every id.
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let traceparent = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let (span, trace) = request_span(traceparent, method.as_str(), &route);
    let id = request_id(&request).unwrap_or_else(|| trace.trace_id().to_string());
    span.record("request_id", &id);
    request.extensions_mut().insert(trace);
    request.extensions_mut().insert(RequestId(id.clone()));

    let active = ActiveRequest::new();
    let mut response = next.run(request).instrument(span.clone()).await;
    drop(active);
    let elapsed = start.elapsed();
    let status = response.status();
    span.record("status", status.as_u16());
    // Methods are few and known to the router: an unknown one matched no route.
    let method = if route == "unmatched" { "other" } else { method.as_str() };
    DURATION.with_label_values(&[method, &route, status.as_str()]).observe(elapsed.as_secs_f64());
    span.in_scope(|| said(&route, elapsed));
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}

/// One line a request, by which its trace leads to the log. What asks whether the service is well asks all the time.
fn said(route: &str, elapsed: Duration) {
    let duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    if OWN_PATHS.contains(&route) {
        tracing::debug!(duration_us, "answered");
    } else {
        tracing::info!(duration_us, "answered");
    }
}

/// The span of a request below the caller's, and its place in the trace.
fn request_span(traceparent: Option<&str>, method: &str, route: &str) -> (Span, TraceContext) {
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        trace_id = field::Empty,
        request_id = field::Empty,
        status = field::Empty,
    );
    let trace = telemetry::place(&span, traceparent.and_then(TraceContext::parse));
    (span, trace)
}

/// The caller's request id, if it is harmless in a log and a header.
fn request_id(request: &Request) -> Option<String> {
    let id = request.headers().get(X_REQUEST_ID)?.to_str().ok()?;
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (!id.is_empty() && id.len() <= 128 && id.bytes().all(harmless)).then(|| id.to_owned())
}

/// Counts a request as active until dropped, whether it was answered or its client went away.
struct ActiveRequest;

impl ActiveRequest {
    fn new() -> Self {
        ACTIVE.inc();
        Self
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        ACTIVE.dec();
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get_text(router: &Router, request: axum::http::request::Builder) -> (StatusCode, Response<()>, String) {
        let request = request.body(Body::empty()).expect("a request");
        let (parts, body) = router.clone().oneshot(request).await.expect("a router answers").into_parts();
        let text = body.collect().await.expect("a body").to_bytes();
        (parts.status, Response::from_parts(parts, ()), String::from_utf8(text.to_vec()).expect("text"))
    }

    fn service() -> (Router, Lifecycle) {
        let life = Lifecycle::default();
        let application = Router::new().route("/things/{id}", get(|| async { "thing" }));
        (router(application, &HttpConfig::default(), &life), life)
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let (router, life) = service();
        let database = life.readiness("database");
        let (status, _, body) = get_text(&router, Request::get("/readyz")).await;
        assert_eq!((status.as_u16(), body.as_str()), (503, r#"{"missing":{"database":"starting"},"ready":false}"#));
        database.ready();
        let (status, _, body) = get_text(&router, Request::get("/readyz")).await;
        assert_eq!((status.as_u16(), body.as_str()), (200, r#"{"missing":{},"ready":true}"#));
    }

    #[tokio::test]
    async fn a_path_never_becomes_a_label() {
        let (router, _) = service();
        for path in ["/things/1", "/things/2", "/nowhere/secret"] {
            get_text(&router, Request::get(path)).await;
        }
        let (_, _, metrics) = get_text(&router, Request::get("/metrics")).await;
        assert!(metrics.contains(r#"route="/things/{id}""#), "{metrics}");
        assert!(!metrics.contains("secret"), "{metrics}");
    }

    #[tokio::test]
    async fn a_request_keeps_a_harmless_id_and_loses_another() {
        let (router, _) = service();
        for (sent, kept) in [("abc-123", true), ("a b", false), ("\u{7f}", false), ("x\"y", false)] {
            let Ok(value) = HeaderValue::from_bytes(sent.as_bytes()) else { continue };
            let (_, answer, _) = get_text(&router, Request::get("/things/1").header("x-request-id", value)).await;
            assert_eq!(answer.headers()["x-request-id"] == sent, kept, "{sent:?}");
        }
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let (_, answer, _) = get_text(&router, Request::get("/things/1").header("traceparent", trace)).await;
        assert_eq!(answer.headers()["x-request-id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    }
}
