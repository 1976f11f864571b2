//! Asks every address of every upstream how it is, for `/health`, status and metrics. A request is
//! never refused because of an answer: only serving requests tells whether requests can be served.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{StatusCode, Uri, header};
use pingora::{
    connectors::http::Connector,
    http::RequestHeader,
    protocols::http::client::HttpSession,
    server::ShutdownWatch,
    services::background::BackgroundService,
    upstreams::peer::{HttpPeer, Peer as _},
};
use tokio::{task::JoinSet, time};

use super::{Connection, Upstream, Upstreams, address::Address, resolve::Resolved};
use crate::{metrics::Metrics, route_table::UpstreamId};

/// Probes every upstream at its interval, and looks its host names up before.
pub struct HealthProbe {
    upstreams: Arc<Upstreams>,
    metrics: Arc<Metrics>,
}

impl HealthProbe {
    /// Probes these upstreams.
    #[must_use]
    pub fn new(upstreams: Arc<Upstreams>, metrics: Arc<Metrics>) -> Self {
        Self { upstreams, metrics }
    }
}

#[async_trait]
impl BackgroundService for HealthProbe {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // Each connector reads the system's certificates, so all share one.
        let connector = Arc::new(Connector::new(None));
        let mut probes = JoinSet::new();
        for (id, upstream) in self.upstreams.iter() {
            probes.spawn(probe_forever(upstream.clone(), connector.clone(), self.metrics.clone(), id));
        }
        // Dropping the set ends every probe.
        let _ = shutdown.wait_for(|stopping| *stopping).await;
    }
}

async fn probe_forever(upstream: Arc<Upstream>, connector: Arc<Connector>, metrics: Arc<Metrics>, id: UpstreamId) {
    let mut resolved = Resolved::new(&upstream);
    let mut interval = time::interval(upstream.config.health_interval.get());
    interval.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let timeout = upstream.config.health_timeout.get();
        // A look-up that hangs must not keep the addresses that are known from being asked.
        let _ = time::timeout(timeout, resolved.refresh(&upstream)).await;
        let before = upstream.is_healthy();
        let mut probes = JoinSet::new();
        for address in upstream.addresses.load().iter() {
            let (upstream, address, connector) = (upstream.clone(), address.clone(), connector.clone());
            probes.spawn(async move {
                // Connecting and reading have this limit each.
                let answers = time::timeout(timeout * 2, upstream.answers(&address, &connector));
                address.set_healthy(answers.await.unwrap_or(false));
            });
        }
        while probes.join_next().await.is_some() {}
        let healthy = upstream.is_healthy();
        if healthy != before {
            tracing::info!(upstream = %upstream.name, healthy, "upstream health changed");
        }
        metrics.upstream_probed(id, healthy);
    }
}

impl Upstream {
    async fn answers(&self, address: &Address, connector: &Connector) -> bool {
        match self.ask(address, connector).await {
            Ok(status) => status.is_some_and(|status| status.is_success()),
            Err(error) => {
                tracing::debug!(upstream = %self.name, address = %address.at, %error, "health probe failed");
                false
            }
        }
    }

    async fn ask(&self, address: &Address, connector: &Connector) -> pingora::Result<Option<StatusCode>> {
        let peer = self.probe_peer(address);
        let (mut session, _) = connector.get_http_session(&peer).await?;
        session.set_read_timeout(peer.options.read_timeout);
        session.set_write_timeout(peer.options.write_timeout);
        let is_http2 = matches!(session, HttpSession::H2(_));
        session.write_request_header(Box::new(self.probe_request(is_http2)?)).await?;
        if is_http2 {
            session.write_request_body(Bytes::new(), true).await?;
        }
        session.read_response_header().await?;
        let status = session.response_header().map(|answer| answer.status);
        if is_http2 {
            connector.release_http_session(session, &peer, peer.idle_timeout()).await;
        }
        Ok(status)
    }

    fn probe_request(&self, is_http2: bool) -> pingora::Result<RequestHeader> {
        let host = self.host();
        let mut request = RequestHeader::build("GET", self.config.health_path.as_bytes(), Some(2))?;
        if is_http2 {
            let scheme = if self.template.is_tls() { "https" } else { "http" };
            let target = Uri::builder().scheme(scheme).authority(host).path_and_query(self.config.health_path.as_str());
            if let Ok(target) = target.build() {
                request.set_uri(target);
            }
            request.set_version(http::Version::HTTP_2);
        } else {
            request.insert_header(header::HOST, host)?;
            request.insert_header(header::CONNECTION, "close")?;
        }
        Ok(request)
    }

    /// A peer with a probe's patience.
    fn probe_peer(&self, address: &Address) -> HttpPeer {
        let timeout = Some(self.config.health_timeout.get());
        let mut peer = self.template.peer(address.at, Connection::Any);
        peer.options.connection_timeout = timeout;
        peer.options.total_connection_timeout = timeout;
        peer.options.read_timeout = timeout;
        peer.options.write_timeout = timeout;
        peer
    }
}
