//! The place of an event in a trace, among its metadata: it comes with the event wherever that waits.

use std::collections::BTreeMap;

use serde::Deserialize;
use telemetry::{TRACEPARENT, TraceContext};

use crate::store::RawEvent;

/// Notes where the event was accepted, unless somebody else has.
pub(crate) fn note(event: &mut RawEvent) {
    if let Some(place) = telemetry::current() {
        event.metadata.entry(TRACEPARENT.to_owned()).or_insert_with(|| place.to_string());
    }
}

/// Where an event was accepted, from its JSON.
pub(super) fn noted(body: &str) -> Option<TraceContext> {
    #[derive(Deserialize)]
    struct Noted {
        metadata: BTreeMap<String, String>,
    }
    let Noted { metadata } = serde_json::from_str(body).ok()?;
    TraceContext::parse(metadata.get(TRACEPARENT)?)
}
