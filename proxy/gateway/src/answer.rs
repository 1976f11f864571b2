//! Answers that the gateway gives itself: `{"error": CODE, "message": TEXT}` and its own health.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::{Result, http::ResponseHeader, proxy::Session};
use serde_json::json;

use crate::upstream::Unavailable;

/// How long a client should wait when no side could be reached. Connections are tried anew with
/// every request, so there is nothing longer to wait for.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An answer with a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    status: StatusCode,
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Self { status, body: Bytes::from(body.to_string()), headers: Vec::new() }
    }

    pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Self {
        Self::json(status, &json!({ "error": code, "message": message }))
    }

    /// No side takes the request now; nothing has been sent.
    pub(crate) fn unavailable(upstream: &str, why: Unavailable) -> Self {
        let (trouble, wait) = match why {
            Unavailable::Unreachable => ("cannot be reached", RETRY_AFTER),
            Unavailable::Overloaded => ("serves as many requests as it may", RETRY_AFTER),
            Unavailable::Open { retry_after } => ("has failed too often and is left alone", retry_after),
        };
        let message = format!("{upstream} {trouble}; the request was not sent and may be repeated");
        Self::error(StatusCode::SERVICE_UNAVAILABLE, why.code(), &message).retry_after(wait)
    }

    /// Says after how many seconds, rounded up, another try makes sense.
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Sends it.
    pub(crate) async fn send(self, session: &mut Session, request_id: &str) -> Result<()> {
        let mut head = ResponseHeader::build(self.status, Some(8))?;
        head.insert_header(header::CONTENT_TYPE, "application/json")?;
        head.insert_header(header::CONTENT_LENGTH, self.body.len())?;
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        head.insert_header("x-request-id", request_id)?;
        for (name, value) in self.headers {
            head.append_header(name, value)?;
        }
        let without_body = session.req_header().method == Method::HEAD;
        session.write_response_header(Box::new(head), without_body).await?;
        if without_body { Ok(()) } else { session.write_response_body(Some(self.body), true).await }
    }
}
