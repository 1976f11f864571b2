//! An answer as shadowing holds it, whichever side it is of.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::budget::Body;

/// An answer to its end.
pub(crate) struct Received {
    pub(crate) head: Head,
    pub(crate) body: Body,
}

/// The header of an answer.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// From choosing the address to this.
    pub(crate) latency: Duration,
}

impl Received {
    /// As it is compared.
    pub(crate) fn answer(&self) -> comparison::Answer<'_> {
        comparison::Answer { status: self.head.status.as_u16(), headers: &self.head.headers, body: self.body.bytes() }
    }
}

/// The length that a body is said to have.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether an answer ends only when somebody has heard enough.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    content_type.get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
}
