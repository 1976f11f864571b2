//! The gateway's place in a trace: always passed on, exported only when that is configured.

use http::Method;
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use pingora::http::RequestHeader;
use telemetry::{TRACEPARENT, TraceContext};

use crate::{
    decision::{RouteDecision, Side},
    route_table::Route,
};

/// Makes the spans of requests and of their copies.
#[derive(Debug, Clone)]
pub struct Tracing(Option<SdkTracer>);

impl Tracing {
    /// Exports through this tracer, if there is one.
    #[must_use]
    pub fn new(tracer: Option<SdkTracer>) -> Self {
        Self(tracer)
    }

    /// Continues the client's trace or starts this one: what to pass on, and the span to end later, when the trace is
    /// among those that are exported.
    pub(crate) fn begin(&self, request: &RequestHeader, new: TraceContext) -> (TraceContext, Option<Box<Span>>) {
        let header = request.headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        let caller = header.and_then(TraceContext::parse);
        let Some(tracer) = &self.0 else {
            return (caller.map_or(new, TraceContext::child), None);
        };
        let parent = match caller {
            Some(caller) => Context::new().with_remote_span_context(caller.to_span_context()),
            None => Context::new(),
        };
        let builder = tracer.span_builder("request").with_kind(SpanKind::Server);
        of_sampled(tracer.build_with_context(builder, &parent))
    }

    /// Starts the span of a copy, below that of the request that was served: beside what its upstream did.
    pub(crate) fn begin_copy(&self, served: TraceContext) -> (TraceContext, Option<Box<Span>>) {
        let Some(tracer) = &self.0 else { return (served.child(), None) };
        let parent = Context::new().with_remote_span_context(served.to_span_context());
        of_sampled(tracer.build_with_context(tracer.span_builder("shadow").with_kind(SpanKind::Client), &parent))
    }

    /// Ends the span of a copy.
    pub(crate) fn end_copy(&self, span: Option<Box<Span>>, route: &str, to: Side, status: Option<u16>) {
        let Some(mut span) = span else { return };
        span.set_attribute(KeyValue::new("gateway.route", route.to_owned()));
        span.set_attribute(KeyValue::new("gateway.side", to.as_str()));
        match status {
            Some(status) => span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status))),
            None => span.set_attribute(KeyValue::new("error.type", "no_answer")),
        }
        span.end();
    }

    /// Ends the span of a request.
    pub(crate) fn end(
        &self,
        mut span: Box<Span>,
        method: &Method,
        route: Option<&Route>,
        decision: Option<RouteDecision>,
        status: Option<u16>,
    ) {
        span.set_attribute(KeyValue::new("http.request.method", method.to_string()));
        if let Some(route) = route {
            span.update_name(format!("{method} {}", route.template));
            span.set_attribute(KeyValue::new("http.route", route.template.to_string()));
            span.set_attribute(KeyValue::new("gateway.route", route.name.clone()));
        }
        if let Some(decision) = decision {
            span.set_attribute(KeyValue::new("gateway.side", decision.side.as_str()));
            span.set_attribute(KeyValue::new("gateway.reason", decision.reason.as_str()));
        }
        match status {
            Some(status) => span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status))),
            None => span.set_attribute(KeyValue::new("error.type", "no_answer")),
        }
        if status.is_none_or(|status| status >= 500) {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

fn of_sampled(span: Span) -> (TraceContext, Option<Box<Span>>) {
    (TraceContext::from(span.span_context()), span.is_recording().then(|| Box::new(span)))
}
