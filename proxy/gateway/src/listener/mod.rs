//! The public listeners: bound before pingora starts, drained before the process ends.
//!
//! The gateway accepts by itself and hands pingora connections, not listeners. That is what makes
//! these possible: one set of upstream connections behind a plain and a TLS listener, a limit on
//! connections and on the time of a handshake, an oldest version of TLS, HTTP/2 without TLS beside
//! HTTP/1.1 on one port, and a drain that tells clients before it closes connections.

mod accept;
mod client_stream;
mod draining;
mod head_deadline;
mod metrics;
mod public;
mod service;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
};

pub(crate) use accept::Endpoint;
pub(crate) use draining::Draining;
pub(crate) use head_deadline::head_was_read;
pub(crate) use metrics::ConnectionMetrics;
pub(crate) use public::endpoints;
pub(crate) use service::{Drain, PublicListeners};

/// A listener that is bound and not yet accepted from.
///
/// Binding early gives an error that a person can act on, and the port that the system chose for
/// port 0.
pub(crate) struct Bound {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Bound {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::adopt(TcpListener::bind(address)?)
    }

    /// Takes over a listener that is bound already.
    pub(crate) fn adopt(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// Another descriptor of the same listener.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.listener.try_clone()?.into())
    }

    pub(crate) fn into_listener(self) -> TcpListener {
        self.listener
    }
}
