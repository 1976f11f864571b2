//! The gateway's place in a trace: always passed on, exported only when that is configured.

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::Method;
use opentelemetry::{
    KeyValue, StringValue,
    trace::{SpanKind, Status},
};
use pingora::http::RequestHeader;
use telemetry::{FinishedSpan, FinishedSpans, Parent, TRACEPARENT, TraceContext};

use crate::{
    decision::{RouteDecision, Side},
    route_table::{RouteId, RouteTable},
};

/// Gives requests and their copies their places in traces, and exports the spans of those that are sampled.
#[derive(Debug, Clone)]
pub struct Tracing(Option<Arc<Exported>>);

#[derive(Debug)]
struct Exported {
    spans: FinishedSpans,
    routes: Vec<RouteWords>,
}

/// What spans say of a route, shared by all of them.
#[derive(Debug)]
struct RouteWords {
    name: Arc<str>,
    template: Arc<str>,
}

/// The place of a request or a copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Passed on to the upstream.
    pub(crate) own: TraceContext,
    parent: Option<Parent>,
}

impl Place {
    /// The first of a new trace.
    pub(crate) fn first() -> Self {
        Self { own: TraceContext::generate(), parent: None }
    }
}

impl Tracing {
    /// Exports to these, if there are any.
    #[must_use]
    pub fn new(spans: Option<FinishedSpans>, table: &RouteTable) -> Self {
        let words = table.iter().map(|(_, route)| RouteWords {
            name: route.name.as_str().into(),
            template: route.template.as_str().into(),
        });
        Self(spans.map(|spans| Arc::new(Exported { spans, routes: words.collect() })))
    }

    /// Continues the client's trace, or starts this one.
    pub(crate) fn begin(&self, request: &RequestHeader, first: Place) -> Place {
        let header = request.headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        match (header.and_then(TraceContext::parse), &self.0) {
            (Some(caller), _) => {
                Place { own: caller.child(), parent: Some(Parent { context: caller, is_remote: true }) }
            }
            (None, Some(exported)) => Place { own: exported.spans.decide(first.own), ..first },
            (None, None) => first,
        }
    }

    /// The place of a copy, below that of the request that was served: beside what its upstream did.
    pub(crate) fn begin_copy(served: TraceContext) -> Place {
        Place { own: served.child(), parent: Some(Parent { context: served, is_remote: false }) }
    }

    /// Ends the span of a copy that took this long.
    pub(crate) fn end_copy(&self, place: Place, duration: Duration, route: RouteId, to: Side, status: Option<u16>) {
        let Some(exported) = self.exported(place) else { return };
        let attributes = vec![
            KeyValue::new("gateway.route", Arc::clone(&exported.route(route).name)),
            KeyValue::new("gateway.side", to.as_str()),
            outcome(status),
        ];
        exported.spans.end(FinishedSpan {
            context: place.own,
            parent: place.parent,
            kind: SpanKind::Client,
            name: Cow::Borrowed("shadow"),
            duration,
            attributes,
            status: Status::Unset,
        });
    }

    /// Ends the span of a request that took this long.
    pub(crate) fn end(
        &self,
        place: Place,
        duration: Duration,
        method: &Method,
        routed: Option<(RouteId, RouteDecision)>,
        status: Option<u16>,
    ) {
        let Some(exported) = self.exported(place) else { return };
        let mut attributes = Vec::with_capacity(6);
        attributes.push(KeyValue::new("http.request.method", word(method)));
        let mut name = Cow::Borrowed("request");
        if let Some((route, decision)) = routed {
            let route = exported.route(route);
            name = Cow::Owned([method.as_str(), " ", &route.template].concat());
            attributes.push(KeyValue::new("http.route", Arc::clone(&route.template)));
            attributes.push(KeyValue::new("gateway.route", Arc::clone(&route.name)));
            attributes.push(KeyValue::new("gateway.side", decision.side.as_str()));
            attributes.push(KeyValue::new("gateway.reason", decision.reason.as_str()));
        }
        attributes.push(outcome(status));
        let failed = status.is_none_or(|status| status >= 500);
        let status = if failed { Status::error("") } else { Status::Unset };
        let (context, parent) = (place.own, place.parent);
        exported.spans.end(FinishedSpan {
            context,
            parent,
            kind: SpanKind::Server,
            name,
            duration,
            attributes,
            status,
        });
    }

    /// Where the span of this place goes, if anywhere.
    fn exported(&self, place: Place) -> Option<&Exported> {
        self.0.as_deref().filter(|_| place.own.is_sampled())
    }
}

impl Exported {
    fn route(&self, id: RouteId) -> &RouteWords {
        &self.routes[id.index()]
    }
}

/// Nothing is allocated for a method that everybody uses.
fn word(method: &Method) -> StringValue {
    match *method {
        Method::GET => "GET".into(),
        Method::POST => "POST".into(),
        Method::PUT => "PUT".into(),
        Method::PATCH => "PATCH".into(),
        Method::DELETE => "DELETE".into(),
        Method::HEAD => "HEAD".into(),
        Method::OPTIONS => "OPTIONS".into(),
        _ => method.to_string().into(),
    }
}

fn outcome(status: Option<u16>) -> KeyValue {
    match status {
        Some(status) => KeyValue::new("http.response.status_code", i64::from(status)),
        None => KeyValue::new("error.type", "no_answer"),
    }
}
