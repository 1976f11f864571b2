//! Reads a body before the upstream is chosen, because the route's key is in it, and gives every byte
//! back to be sent.
//!
//! pingora keeps what it has read of a body in a buffer of 64 KiB, and sends that first to whichever
//! upstream comes; a body that outgrows the buffer is not kept at all. So a body of up to 64 KiB is
//! read into pingora's buffer. Of a longer one, whose length must be declared, the first part is read
//! before the buffer is turned on, and kept here; the rest, at most 64 KiB, is in the buffer. The
//! request's body filter puts the first part before whatever comes first, on every attempt.
//!
//! A body that is longer than the route's limit for this is refused. Looking at its beginning only
//! would not do: a member that comes again further on would be the key that the upstream reads.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::{ErrorType, http::RequestHeader, proxy::Session};
use tokio::time::timeout;

use crate::refusal::Refusal;

/// How much of a body pingora can send again (its `BODY_BUF_LIMIT`).
const ENGINE_BUFFER_BYTES: usize = 64 * 1024;

/// A body that has been read to its end.
pub(crate) struct KeyBody {
    /// All of it.
    pub(crate) bytes: Bytes,
    /// The part that pingora does not keep.
    pub(crate) kept: Bytes,
}

/// Reads the body to its end.
///
/// # Errors
/// When it is longer than the limit, ends early, does not come in time, or is long and does not
/// declare how long.
pub(crate) async fn read(session: &mut Session, limit: usize, patience: Duration) -> Result<KeyBody, Refusal> {
    let session = session.as_mut();
    let declared = declared_length(session.req_header());
    if declared.is_some_and(|length| length > limit) {
        return Err(Refusal::KeyBodyTooLarge);
    }
    if session.is_body_done() {
        return Ok(KeyBody { bytes: Bytes::new(), kept: Bytes::new() });
    }
    answer_expectation(session).await?;
    let mut bytes = BytesMut::with_capacity(declared.unwrap_or_default());
    let mut buffered_from = None;
    loop {
        let fits = declared.is_none_or(|length| length.saturating_sub(bytes.len()) <= ENGINE_BUFFER_BYTES);
        if buffered_from.is_none() && fits {
            session.enable_retry_buffering();
            buffered_from = Some(bytes.len());
        }
        let Some(chunk) = next_chunk(session, patience).await? else { break };
        if bytes.len() + chunk.len() > limit {
            return Err(Refusal::KeyBodyTooLarge);
        }
        bytes.extend_from_slice(&chunk);
        if declared.is_none() && bytes.len() > ENGINE_BUFFER_BYTES {
            return Err(Refusal::LengthRequired);
        }
        if session.is_body_done() {
            break;
        }
    }
    let bytes = bytes.freeze();
    // A read that returned more than the engine's buffer holds would leave nothing that makes pingora
    // send the body at all. Its reads are shorter than that; should they not be, nothing is sent.
    match buffered_from {
        Some(from) if !session.retry_buffer_truncated() && (from < bytes.len() || bytes.is_empty()) => {
            Ok(KeyBody { kept: bytes.slice(..from), bytes })
        }
        _ => Err(Refusal::KeyBodyTooLarge),
    }
}

/// The first chunk of a body that is being sent: what was kept, then the chunk itself.
pub(crate) fn joined(kept: &Bytes, chunk: Option<Bytes>) -> Bytes {
    let chunk = chunk.unwrap_or_default();
    let mut whole = BytesMut::with_capacity(kept.len() + chunk.len());
    whole.extend_from_slice(kept);
    whole.extend_from_slice(&chunk);
    whole.freeze()
}

fn declared_length(request: &RequestHeader) -> Option<usize> {
    request.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

type Downstream = pingora::protocols::http::server::Session;

/// A client that waits for permission to send its body (RFC 9110 section 10.1.1) gets it from here,
/// and the upstream is not asked again.
async fn answer_expectation(session: &mut Downstream) -> Result<(), Refusal> {
    if session.req_header_mut().remove_header(&header::EXPECT).is_some() {
        session.write_continue_response().await.map_err(|_| Refusal::BodyIncomplete)?;
    }
    Ok(())
}

async fn next_chunk(session: &mut Downstream, patience: Duration) -> Result<Option<Bytes>, Refusal> {
    // pingora limits the wait on HTTP/1 connections only.
    match timeout(patience, session.read_request_body()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Err(_) => Err(Refusal::BodyTimeout),
        Ok(Err(error)) if *error.etype() == ErrorType::ReadTimedout => Err(Refusal::BodyTimeout),
        Ok(Err(_)) => Err(Refusal::BodyIncomplete),
    }
}
