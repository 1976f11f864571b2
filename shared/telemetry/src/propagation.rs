//! The place of a span in a trace: taken from whoever asked for the work, and handed on with what follows from it.

use opentelemetry::trace::TraceContextExt as _;
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::TraceContext;

/// The place of what runs now; none where nobody's request is being worked on.
#[must_use]
pub fn current() -> Option<TraceContext> {
    of(&Span::current())
}

/// Puts a new span below the place that its caller told of, in another process or before now. Without one it stays
/// where it was made: below the span around it, or at the start of a trace. Answers its own place, and writes it into
/// the span's field `trace_id`.
pub fn place(span: &Span, caller: Option<TraceContext>) -> TraceContext {
    if let Some(caller) = caller {
        let parent = opentelemetry::Context::new().with_remote_span_context(caller.to_span_context());
        // Refused only of a span that is filtered out, and that has no place.
        let _ = span.set_parent(parent);
    }
    let place = of(span).or_else(|| caller.map(TraceContext::child)).unwrap_or_else(TraceContext::generate);
    span.record("trace_id", field::display(place.trace_id()));
    place
}

fn of(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let span = context.span();
    span.span_context().is_valid().then(|| TraceContext::from(span.span_context()))
}
