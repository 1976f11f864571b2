//! Asks every upstream how it is, for `/health`, status and metrics. A request is never refused
//! because of an answer: only connecting tells whether a request can be served.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use http::{StatusCode, header};
use pingora::{
    connectors::http::v1::Connector, http::RequestHeader, server::ShutdownWatch,
    services::background::BackgroundService,
};
use tokio::{task::JoinSet, time};

use super::{Upstream, Upstreams};
use crate::{metrics::Metrics, route_table::UpstreamId};

/// Probes every upstream at its interval, and looks its host name up before.
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
        let mut probes = JoinSet::new();
        for (id, _) in self.upstreams.iter() {
            probes.spawn(probe_forever(self.upstreams.clone(), self.metrics.clone(), id));
        }
        // Dropping the set ends every probe.
        let _ = shutdown.wait_for(|stopping| *stopping).await;
    }
}

async fn probe_forever(upstreams: Arc<Upstreams>, metrics: Arc<Metrics>, id: UpstreamId) {
    let upstream = upstreams.get(id);
    let connector = Connector::new(None);
    let mut interval = time::interval(upstream.config.health_interval.get());
    interval.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let probe = async {
            upstream.look_up().await;
            upstream.answers(&connector).await
        };
        // Connecting and reading have this limit each; together they get twice that, with the look-up.
        let healthy = time::timeout(upstream.config.health_timeout.get() * 2, probe).await.unwrap_or(false);
        if upstream.healthy.swap(healthy, Ordering::Relaxed) != healthy {
            tracing::info!(upstream = %upstream.name, healthy, "upstream health changed");
        }
        metrics.upstream_probed(id, healthy);
    }
}

impl Upstream {
    /// Looks the host name up. An address that resolved once stays until another one is found.
    async fn look_up(&self) {
        if self.config.address.parse::<SocketAddr>().is_ok() {
            return;
        }
        match tokio::net::lookup_host(&self.config.address).await {
            Ok(mut found) => {
                if let Some(address) = found.next() {
                    self.resolved.store(Some(Arc::new(address)));
                }
            }
            Err(error) => tracing::debug!(upstream = %self.name, %error, "host name not found"),
        }
    }

    async fn answers(&self, connector: &Connector) -> bool {
        match self.ask(connector).await {
            Ok(status) => status.is_some_and(|status| status.is_success()),
            Err(error) => {
                tracing::debug!(upstream = %self.name, %error, "health probe failed");
                false
            }
        }
    }

    async fn ask(&self, connector: &Connector) -> pingora::Result<Option<StatusCode>> {
        let Some(peer) = self.probe_peer() else { return Ok(None) };
        let (mut session, _) = connector.get_http_session(&peer).await?;
        session.read_timeout = peer.options.read_timeout;
        session.write_timeout = peer.options.write_timeout;
        let mut request = RequestHeader::build("GET", self.config.health_path.as_bytes(), Some(2))?;
        request.insert_header(header::HOST, self.address())?;
        request.insert_header(header::CONNECTION, "close")?;
        session.write_request_header(Box::new(request)).await?;
        session.read_response().await?;
        Ok(session.resp_header().map(|answer| answer.status))
    }
}
