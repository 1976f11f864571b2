//! The sides that requests are sent to.

mod health;

use std::{net::SocketAddr, time::Duration};

use arc_swap::ArcSwapOption;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, PeerOptions};
use std::sync::atomic::{AtomicBool, Ordering};

pub use health::HealthProbe;

use crate::{
    config::{Config, UpstreamConfig},
    route_table::UpstreamId,
};

/// One upstream: its address as it resolves now, and whether it answers its probe.
pub struct Upstream {
    /// Its name in configuration.
    pub name: String,
    config: UpstreamConfig,
    resolved: ArcSwapOption<SocketAddr>,
    healthy: AtomicBool,
    options: PeerOptions,
}

/// Every upstream, by id.
pub struct Upstreams(Vec<Upstream>);

impl Upstreams {
    /// The configured upstreams; host names are looked up by the health probe.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self(config.upstreams.iter().map(|(name, upstream)| Upstream::new(name, upstream)).collect())
    }

    /// The upstream with this id.
    #[must_use]
    pub fn get(&self, id: UpstreamId) -> &Upstream {
        &self.0[id.index()]
    }

    /// Every upstream with its id.
    pub fn iter(&self) -> impl Iterator<Item = (UpstreamId, &Upstream)> {
        self.0.iter().enumerate().map(|(index, upstream)| (UpstreamId(index), upstream))
    }
}

impl Upstream {
    fn new(name: &str, config: &UpstreamConfig) -> Self {
        let mut options = PeerOptions::new();
        options.connection_timeout = Some(config.connect_timeout.get());
        options.total_connection_timeout = Some(config.connect_timeout.get());
        options.read_timeout = Some(config.read_timeout.get());
        options.write_timeout = Some(config.write_timeout.get());
        options.idle_timeout = Some(config.idle_timeout.get());
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
        Self {
            name: name.to_owned(),
            resolved: ArcSwapOption::from_pointee(config.address.parse::<SocketAddr>().ok()),
            healthy: AtomicBool::new(false),
            config: config.clone(),
            options,
        }
    }

    /// `host:port` as configured.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.config.address
    }

    /// Whether it answered its latest probe. Routing does not look at this.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Where pingora is to connect. `None` while the host name does not resolve.
    #[must_use]
    pub fn peer(&self) -> Option<HttpPeer> {
        self.peer_with(|options| options)
    }

    /// As [`Upstream::peer`], with a health probe's patience.
    fn probe_peer(&self) -> Option<HttpPeer> {
        let timeout: Duration = self.config.health_timeout.get();
        self.peer_with(|mut options| {
            options.connection_timeout = Some(timeout);
            options.total_connection_timeout = Some(timeout);
            options.read_timeout = Some(timeout);
            options.write_timeout = Some(timeout);
            options
        })
    }

    fn peer_with(&self, change: impl FnOnce(PeerOptions) -> PeerOptions) -> Option<HttpPeer> {
        let address = self.resolved.load();
        let mut peer = HttpPeer::new(**address.as_ref()?, false, String::new());
        peer.options = change(self.options.clone());
        Some(peer)
    }
}
