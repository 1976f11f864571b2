//! Spans that are made when what they tell of is over.
//!
//! A span of OpenTelemetry's SDK lives from its beginning: a context, a handle of its tracer and a record of some
//! hundred bytes for each request, also for those that are not exported. Whoever passes on trace contexts anyhow, and
//! knows when a request began, needs none of it until the end; and nothing at all where the trace is not sampled. Such
//! spans go the same way to the collector as those of `tracing`.

use std::{borrow::Cow, sync::Arc, time::Duration};

use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    trace::{SpanId, SpanKind, Status},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{
        BatchSpanProcessor, Sampler, SamplingDecision, ShouldSample as _, Span, SpanData, SpanEvents, SpanLinks,
        SpanProcessor,
    },
};

use crate::TraceContext;

/// Takes spans for export.
#[derive(Debug, Clone)]
pub struct FinishedSpans {
    processor: Arc<BatchSpanProcessor>,
    scope: InstrumentationScope,
    sampler: Sampler,
}

/// What a request or a part of it was.
#[derive(Debug, Clone)]
pub struct FinishedSpan {
    /// Its own place in the trace.
    pub context: TraceContext,
    /// That above it, if there is one.
    pub parent: Option<Parent>,
    /// Its part in an exchange.
    pub kind: SpanKind,
    /// Its name: few different ones, such as a method and a template.
    pub name: Cow<'static, str>,
    /// How long it took, until now.
    pub duration: Duration,
    /// What else there is to say.
    pub attributes: Vec<KeyValue>,
    /// Whether it went well.
    pub status: Status,
}

/// The span above another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// Its place.
    pub context: TraceContext,
    /// Whether another process made it.
    pub is_remote: bool,
}

impl FinishedSpans {
    pub(crate) fn new(processor: Arc<BatchSpanProcessor>, name: &'static str, share: f64) -> Self {
        let scope = InstrumentationScope::builder(name).build();
        Self { processor, scope, sampler: Sampler::TraceIdRatioBased(share) }
    }

    /// The same place, sampled if it is among the share of traces that are exported: for the first of a trace. All
    /// others do as the first did.
    #[must_use]
    pub fn decide(&self, first: TraceContext) -> TraceContext {
        let trace_id = first.to_span_context().trace_id();
        let result = self.sampler.should_sample(None, trace_id, "", &SpanKind::Server, &[], &[]);
        first.with_sampled(result.decision == SamplingDecision::RecordAndSample)
    }

    /// Hands a span over that ends now, unless its trace is not sampled. Never waits: where the collector does not keep
    /// up, it is dropped.
    pub fn end(&self, span: FinishedSpan) {
        if !span.context.is_sampled() {
            return;
        }
        let now = opentelemetry::time::now();
        self.processor.on_end(SpanData {
            span_context: span.context.span_context(false),
            parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| parent.context.to_span_context().span_id()),
            parent_span_is_remote: span.parent.is_some_and(|parent| parent.is_remote),
            span_kind: span.kind,
            name: span.name,
            start_time: now.checked_sub(span.duration).unwrap_or(now),
            end_time: now,
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.status,
            instrumentation_scope: self.scope.clone(),
        });
    }
}

/// One processor for the spans of a provider and those made by hand.
#[derive(Debug)]
pub(crate) struct Shared(pub(crate) Arc<BatchSpanProcessor>);

impl SpanProcessor for Shared {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry_sdk::trace::SpanExporter;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().expect("nobody panicked").extend(batch);
            Ok(())
        }
    }

    #[test]
    fn a_span_has_its_place_and_its_time_and_the_share_of_new_traces_is_sampled() {
        let exporter = Kept::default();
        let processor = Arc::new(BatchSpanProcessor::builder(exporter.clone()).build());
        let spans = FinishedSpans::new(Arc::clone(&processor), "test", 0.25);
        let decided: Vec<TraceContext> = (0..4_000).map(|_| spans.decide(TraceContext::generate())).collect();
        let sampled = decided.iter().filter(|context| context.is_sampled()).count();
        // A quarter of them, with a standard deviation of 27.
        assert!((800..1_200).contains(&sampled), "{sampled}");

        let parent = Parent { context: TraceContext::generate(), is_remote: true };
        let context = parent.context.child();
        spans.end(FinishedSpan {
            context,
            parent: Some(parent),
            kind: SpanKind::Server,
            name: Cow::Borrowed("request"),
            duration: Duration::from_secs(3),
            attributes: vec![KeyValue::new("gateway.side", "legacy")],
            status: Status::Unset,
        });
        // What is not sampled is not exported, whoever hands it over.
        spans.end(FinishedSpan {
            context: context.with_sampled(false),
            parent: None,
            kind: SpanKind::Server,
            name: Cow::Borrowed("other"),
            duration: Duration::ZERO,
            attributes: Vec::new(),
            status: Status::Unset,
        });
        processor.force_flush().expect("it goes to memory");
        let kept = exporter.0.lock().expect("nobody panicked");
        let [span] = &kept[..] else { panic!("one span, not {kept:?}") };
        assert_eq!(TraceContext::from(&span.span_context), context);
        assert_eq!(span.parent_span_id.to_string(), parent.context.span_id().to_string());
        assert!(span.parent_span_is_remote && !span.span_context.is_remote());
        assert_eq!(span.end_time.duration_since(span.start_time).expect("forward"), Duration::from_secs(3));
    }
}
