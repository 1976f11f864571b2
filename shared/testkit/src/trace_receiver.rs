//! A receiver of traces: OTLP over HTTP, as every process exports them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
};
use prost::Message as _;

use crate::{Answer, StubUpstream};

/// A span that a process exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedSpan {
    /// The name of the process.
    pub service: String,
    /// What was done.
    pub name: String,
    /// Its trace, in hexadecimal.
    pub trace_id: String,
    /// Its own id, in hexadecimal.
    pub span_id: String,
    /// The span that it is below; empty at the start of a trace.
    pub parent_span_id: String,
    /// What is said of it, as text.
    pub attributes: BTreeMap<String, String>,
}

/// Takes what is exported, and keeps it.
pub struct TraceReceiver {
    stub: StubUpstream,
}

impl TraceReceiver {
    /// Starts one.
    pub async fn start() -> Self {
        let empty = |_: &_| Answer::new(200, "").header("content-type", "application/x-protobuf");
        Self { stub: StubUpstream::start(empty).await }
    }

    /// For the setting `telemetry.otlp_endpoint`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.stub.url("")
    }

    /// All spans of a trace that have arrived so far.
    ///
    /// # Panics
    /// Something else than traces was exported.
    #[must_use]
    pub fn spans_of(&self, trace_id: &str) -> Vec<ReceivedSpan> {
        let requests = self.stub.requests();
        let exports = requests.iter().map(|request| {
            assert_eq!(request.path, "/v1/traces", "only traces are exported");
            ExportTraceServiceRequest::decode(request.body.clone()).expect("OTLP's own messages")
        });
        let spans = exports.flat_map(|export| export.resource_spans).flat_map(|of_process| {
            let attributes = of_process.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = texts(attributes).remove("service.name").unwrap_or_default();
            let spans = of_process.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
            spans
                .map(|span| ReceivedSpan {
                    service: service.clone(),
                    name: span.name,
                    trace_id: hex(&span.trace_id),
                    span_id: hex(&span.span_id),
                    parent_span_id: hex(&span.parent_span_id),
                    attributes: texts(span.attributes),
                })
                .collect::<Vec<_>>()
        });
        spans.filter(|span| span.trace_id == trace_id).collect()
    }
}

/// `service name` of a span and of those that it is below, itself first; as far up as they are among these.
#[must_use]
pub fn ancestry(spans: &[ReceivedSpan], of: &ReceivedSpan) -> Vec<String> {
    let parent = |span: &&ReceivedSpan| spans.iter().find(|other| other.span_id == span.parent_span_id);
    std::iter::successors(Some(of), parent).map(|span| format!("{} {}", span.service, span.name)).collect()
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|pair| (pair.key, pair.value.map(text).unwrap_or_default())).collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
