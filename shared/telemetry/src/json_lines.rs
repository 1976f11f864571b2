//! Events as one JSON object a line, an error with its causes.
//!
//! The library's own JSON format keeps of an error only what it says of itself: `reading a function failed`,
//! and not that the pool had timed out. Otherwise this is its shape with flattened fields: `timestamp`, `level`,
//! the event's fields, `target`, `trace_id`, and under `span` the fields of the span around it and its `name`.

use std::{error::Error, fmt};

use serde::ser::{SerializeMap, Serializer as _};
use serde_json::{ser::CompactFormatter, value::RawValue};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

pub(crate) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut line = Vec::with_capacity(256);
        let mut to_line = serde_json::Serializer::with_formatter(&mut line, CompactFormatter);
        let mut write = || -> Result<(), serde_json::Error> {
            let mut map = to_line.serialize_map(None)?;
            map.serialize_entry("timestamp", &timestamp)?;
            map.serialize_entry("level", event.metadata().level().as_str())?;
            let mut fields = Fields { map: &mut map, outcome: Ok(()) };
            event.record(&mut fields);
            fields.outcome?;
            map.serialize_entry("target", event.metadata().target())?;
            if let Some(trace_id) = trace_id::<S, N>(ctx) {
                map.serialize_entry("trace_id", &trace_id)?;
            }
            if let Some(span) = event.parent().and_then(|id| ctx.span(id)).or_else(|| ctx.lookup_current()) {
                let extensions = span.extensions();
                let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.as_str());
                map.serialize_entry("span", &span_object(fields, span.name())?)?;
            }
            map.end()
        };
        write().map_err(|_| fmt::Error)?;
        // JSON is text, and what is not in a string of Rust's does not get here.
        writer.write_str(std::str::from_utf8(&line).map_err(|_| fmt::Error)?)?;
        writer.write_char('\n')
    }
}

/// That of the request or message that is worked on: a field of one of the spans around the event, and not always of
/// the nearest. It is 32 digits, as `telemetry::place` wrote it.
fn trace_id<S, N>(ctx: &FmtContext<'_, S, N>) -> Option<String>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    ctx.event_scope()?.find_map(|span| {
        let extensions = span.extensions();
        let fields = extensions.get::<FormattedFields<N>>()?.fields.as_str();
        let (_, from) = fields.split_once("\"trace_id\":\"")?;
        from.split_once('"').map(|(trace_id, _)| trace_id.to_owned())
    })
}

/// The span's fields, which are a JSON object already, with its name in it.
fn span_object(fields: &str, name: &str) -> Result<Box<RawValue>, serde_json::Error> {
    let name = serde_json::to_string(name)?;
    let fields = fields.trim().strip_prefix('{').and_then(|fields| fields.strip_suffix('}')).unwrap_or_default();
    let comma = if fields.is_empty() { "" } else { "," };
    RawValue::from_string(format!("{{{fields}{comma}\"name\":{name}}}"))
}

struct Fields<'a, M: SerializeMap> {
    map: &'a mut M,
    /// The first failure; a visitor cannot answer.
    outcome: Result<(), M::Error>,
}

impl<M: SerializeMap> Fields<'_, M> {
    fn put(&mut self, field: &Field, value: &(impl serde::Serialize + ?Sized)) {
        if self.outcome.is_ok() {
            self.outcome = self.map.serialize_entry(field.name(), value);
        }
    }
}

impl<M: SerializeMap> Visit for Fields<'_, M> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field, &causes(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}

/// `what failed: because of this: because of that`. A cause that an error has said itself is not said again.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("reading a function failed")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("the pool said: {0}")]
    struct Middle(#[source] io::Error);

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `say` runs, without the times.
    fn written(say: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().json().event_format(JsonLines).with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let bytes = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines()
            .map(|line| {
                let mut object: Value = serde_json::from_str(line).unwrap();
                object.as_object_mut().unwrap().remove("timestamp").expect("each has a time");
                object
            })
            .collect()
    }

    #[test]
    fn an_error_is_written_with_its_causes_once_each() {
        let error = Outer(Middle(io::Error::other("no connection \"in\" time\nat all")));
        let lines = written(|| tracing::warn!(error = &error as &dyn Error, tries = 3_u64, "waiting"));
        let expected = json!({
            "level": "WARN", "message": "waiting", "tries": 3, "target": "telemetry::json_lines::tests",
            "error": "reading a function failed: the pool said: no connection \"in\" time\nat all",
        });
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn fields_of_the_span_are_kept_apart_from_the_events() {
        let lines = written(|| {
            tracing::info_span!("request", trace_id = "abc").in_scope(|| tracing::info!(ratio = 0.5, "in"));
            let request = tracing::info_span!("request", trace_id = tracing::field::Empty);
            request.record("trace_id", tracing::field::display("def"));
            let inner = request.in_scope(|| tracing::info_span!("inner", n = 1));
            inner.in_scope(|| tracing::info!("deeper"));
            tracing::info_span!("bare").in_scope(|| tracing::info!(debugged = ?[1], "also in"));
            tracing::info!(late = true, below = -1_i64);
        });
        let target = "telemetry::json_lines::tests";
        let expected = [
            json!({"level": "INFO", "message": "in", "ratio": 0.5, "target": target, "trace_id": "abc",
                   "span": {"trace_id": "abc", "name": "request"}}),
            json!({"level": "INFO", "message": "deeper", "target": target, "trace_id": "def",
                   "span": {"n": 1, "name": "inner"}}),
            json!({"level": "INFO", "message": "also in", "debugged": "[1]", "target": target,
                   "span": {"name": "bare"}}),
            json!({"level": "INFO", "late": true, "below": -1, "target": target}),
        ];
        assert_eq!(lines, expected);
    }
}
