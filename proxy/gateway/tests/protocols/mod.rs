//! What passes through the gateway besides one request and one answer.

mod answers;
mod events;
mod grpc;
mod http1;
mod http2;
mod large;
mod tls;
mod websocket;

use crate::harness::{self, Gateway, RawUpstream, blocking};

/// A gateway in front of an upstream that is both sides.
fn gateway(upstream: &RawUpstream, http: &str) -> Gateway {
    Gateway::start(&harness::config(upstream.address, upstream.address, "", http), "")
}
