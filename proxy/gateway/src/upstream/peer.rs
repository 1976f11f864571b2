use std::{net::SocketAddr, sync::Arc, time::Duration};

use pingora::{
    protocols::ALPN,
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, PeerOptions},
};

use super::{
    handshake::HandshakeConnector,
    tls::{UpstreamTls, UpstreamTlsProblem},
};
use crate::{
    config::{UpstreamConfig, UpstreamHttp2Config, UpstreamProtocol},
    route_table::UpstreamId,
};

/// The connection that a request is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    /// One from the pool, or a new one.
    Any,
    /// A new one.
    New,
    /// A new one that may become a WebSocket.
    WebSocket,
}

/// How pingora is to connect to the addresses of one upstream.
pub(crate) struct PeerTemplate {
    /// With no address yet. Its group keeps the connections of upstreams apart, also where their addresses are the
    /// same: pingora's pool does not tell connections apart by protocol or by the certificates they were checked
    /// against.
    peer: HttpPeer,
}

impl PeerTemplate {
    pub(crate) fn new(id: UpstreamId, config: &UpstreamConfig) -> Result<Self, UpstreamTlsProblem> {
        let mut options = PeerOptions::new();
        options.connection_timeout = Some(config.connect_timeout.get());
        options.total_connection_timeout = Some(config.connect_timeout.get());
        options.read_timeout = Some(config.read_timeout.get());
        options.write_timeout = Some(config.write_timeout.get());
        options.idle_timeout = Some(config.idle_timeout.get());
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
        if config.protocol != UpstreamProtocol::Http1 {
            options.alpn = ALPN::H2;
            options.max_h2_streams = config.http2.max_streams;
            options.h2_ping_interval = Some(config.http2.ping_interval.get());
            options.h2_stream_window_size = Some(UpstreamHttp2Config::window(config.http2.stream_window));
            options.h2_connection_window_size = Some(UpstreamHttp2Config::window(config.http2.connection_window));
        }
        let hosts = config.host_ports();
        let host = hosts.first().map_or("", |first| first.host.as_str());
        let tls = config.tls().map(|tls| UpstreamTls::load(&tls, host)).transpose()?;
        let name = tls.as_ref().map_or("", UpstreamTls::server_name);
        let nowhere = SocketAddr::from(([0; 4], 0));
        let mut peer = HttpPeer::new(nowhere, tls.is_some(), name.to_owned());
        peer.group_key = id.index() as u64;
        peer.options = options;
        if let Some(tls) = &tls {
            tls.apply(&mut peer);
        }
        Ok(Self { peer })
    }

    /// A peer at this address; in a group of its own, so that no connection is there for it, if it shall
    /// be connected to anew.
    pub(crate) fn peer(&self, at: SocketAddr, connection: Connection) -> HttpPeer {
        let mut peer = self.peer.clone();
        peer._address = at.into();
        if connection != Connection::Any {
            peer.group_key = rand::random();
        }
        // HTTP/2 has no 101.
        if connection == Connection::WebSocket && peer.options.alpn != ALPN::H2 {
            peer.options.custom_l4 = Some(Arc::new(HandshakeConnector));
            // An upstream that declines leaves a connection that nobody asks for.
            peer.options.idle_timeout = Some(Duration::ZERO);
        }
        peer
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.peer.is_tls()
    }
}
