//! Sends a copy to an upstream and receives its answer, within the route's limits.
//!
//! By pingora's own connector, so that TLS, HTTP/2 and HTTP/1.1 are as for requests that are served; but with
//! connections of its own, so that a copy never takes a connection from a request, nor leaves one that is broken.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Method, StatusCode, Uri, Version, header};
use pingora::{
    connectors::http::Connector,
    http::RequestHeader,
    protocols::http::client::HttpSession,
    upstreams::peer::{HttpPeer, Peer as _},
};

use super::{
    budget::{Buffer, Full, Pool, header_bytes},
    outcome::Dropped,
    received::{Head, Received, declared_length, is_event_stream},
};

/// What an answer may cost.
pub(super) struct Allowance<'a> {
    pub(super) memory: &'a Arc<Pool>,
    pub(super) body_limit: usize,
}

/// A request ready to be sent.
pub(super) struct Message {
    /// As for HTTP/1.1, whatever the upstream speaks.
    pub(super) head: RequestHeader,
    pub(super) body: Bytes,
}

/// Sends the message and receives the answer to its end.
pub(super) async fn exchange(
    connector: &Connector,
    peer: &HttpPeer,
    message: &Message,
    allowance: &Allowance<'_>,
) -> Result<Received, Dropped> {
    let begun = Instant::now();
    let (mut session, reused) = connector.get_http_session(peer).await.map_err(|_| Dropped::OtherUnavailable)?;
    if let Err(error) = ask(&mut session, peer, message).await {
        // A pooled connection may have ended just now. What changes nothing may be sent twice.
        let repeats = reused && [Method::GET, Method::HEAD, Method::OPTIONS].contains(&message.head.method);
        if !repeats {
            tracing::debug!(%peer, %error, "a copy was not answered");
            return Err(Dropped::OtherBroken);
        }
        let mut fresh = peer.clone();
        fresh.group_key = rand::random();
        (session, _) = connector.get_http_session(&fresh).await.map_err(|_| Dropped::OtherUnavailable)?;
        ask(&mut session, peer, message).await.map_err(|_| Dropped::OtherBroken)?;
    }
    let latency = begun.elapsed();
    let answer = session.response_header().ok_or(Dropped::OtherBroken)?;
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Dropped::OtherBroken);
    }
    if is_event_stream(&answer.headers) {
        return Err(Dropped::Stream);
    }
    let head = Head { status: answer.status, headers: answer.headers.clone(), latency };
    let body = receive(&mut session, &head, message.head.method == Method::HEAD, allowance).await?;
    connector.release_http_session(session, peer, peer.idle_timeout()).await;
    Ok(Received { head, body: body.finish() })
}

async fn ask(session: &mut HttpSession, peer: &HttpPeer, message: &Message) -> pingora::Result<()> {
    // The whole exchange has one limit; these would be one for each read and write.
    session.set_read_timeout(None);
    session.set_write_timeout(None);
    let head = message.head.clone();
    match session {
        HttpSession::H2(stream) => {
            let whole = message.body.is_empty();
            stream.write_request_header(Box::new(for_http2(head, peer)?), whole)?;
            if !whole {
                stream.write_request_body(message.body.clone(), true).await?;
            }
        }
        _ => {
            session.write_request_header(Box::new(head)).await?;
            if !message.body.is_empty() {
                session.write_request_body(message.body.clone(), true).await?;
            }
            session.finish_request_body().await?;
        }
    }
    loop {
        session.read_response_header().await?;
        let informational = session
            .response_header()
            .is_some_and(|answer| answer.status.is_informational() && answer.status != StatusCode::SWITCHING_PROTOCOLS);
        if !informational {
            return Ok(());
        }
    }
}

async fn receive(
    session: &mut HttpSession,
    head: &Head,
    without_body: bool,
    allowance: &Allowance<'_>,
) -> Result<Buffer, Dropped> {
    let full = |full| match full {
        Full::Limit => Dropped::OtherTooLarge,
        Full::Budget => Dropped::Memory,
    };
    let mut body = Buffer::new(allowance.memory, allowance.body_limit, header_bytes(&head.headers)).map_err(full)?;
    let without_body = without_body || head.status == StatusCode::NOT_MODIFIED;
    if let Some(length) = declared_length(&head.headers).filter(|_| !without_body) {
        body.expect(length).map_err(full)?;
    }
    while let Some(chunk) = session.read_response_body().await.map_err(|_| Dropped::OtherBroken)? {
        body.append(&chunk).map_err(full)?;
    }
    Ok(body)
}

/// The head of a copy as HTTP/1.1 has it, from the head that another upstream got by whichever protocol.
pub(super) fn for_http1(mut head: RequestHeader, body_length: usize) -> pingora::Result<RequestHeader> {
    let framed =
        head.headers.contains_key(header::CONTENT_LENGTH) || head.headers.contains_key(header::TRANSFER_ENCODING);
    for name in [header::TRANSFER_ENCODING, header::TRAILER, header::EXPECT, header::CONNECTION, header::UPGRADE] {
        head.remove_header(&name);
    }
    if framed || body_length > 0 {
        head.insert_header(header::CONTENT_LENGTH, body_length)?;
    }
    if let Some(authority) = head.uri.authority().map(ToString::to_string) {
        head.insert_header(header::HOST, authority)?;
        let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        if let Ok(target) = target.parse::<Uri>() {
            head.set_uri(target);
        }
    }
    head.set_version(Version::HTTP_11);
    Ok(head)
}

fn for_http2(mut head: RequestHeader, peer: &HttpPeer) -> pingora::Result<RequestHeader> {
    let host = head.remove_header(&header::HOST);
    let authority = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
    let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let scheme = if peer.is_tls() { "https" } else { "http" };
    let target = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build();
    let target = target.map_err(|cause| {
        pingora::Error::because(pingora::ErrorType::InvalidHTTPHeader, "no authority for an HTTP/2 request", cause)
    })?;
    head.set_uri(target);
    head.set_version(Version::HTTP_2);
    Ok(head)
}
