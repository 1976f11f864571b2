//! The public listeners as a service of pingora's server: accept, tell clients to go, wait, end.

use std::{
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    apps::{HttpServerApp, HttpServerOptions},
    protocols::http::v2::server::{H2Options, default_h2_options},
    proxy::HttpProxy,
    server::{ListenFds, ShutdownWatch},
    services::{ServiceReadyNotifier, ServiceWithDependents},
};
use tokio::{sync::watch, task::JoinSet, time};

use super::{ConnectionMetrics, Draining, Endpoint, accept::Shared, head_deadline::HeadDeadlines, metrics::Places};
use crate::{
    config::HttpConfig,
    gateway::Gateway,
    request_context::InFlightCount,
    shadow::Shadow,
    upgrade::{Held, Readiness},
};

/// A connection that was accepted last may hold a request that nobody has read yet; the drain looks
/// again after this long.
const SETTLE: Duration = Duration::from_millis(50);

/// Serves the endpoints. When the last request has been answered after a shutdown, it says so.
pub(crate) struct PublicListeners {
    endpoints: Vec<Endpoint>,
    shared: Arc<Shared>,
    idle_grace: Duration,
    tell: watch::Sender<bool>,
    drain: Drain,
    admin_address: SocketAddr,
    readiness: Option<Readiness>,
}

/// What the drain looks at, and whom it tells.
pub(crate) struct Drain {
    /// The listeners that were kept for a successor.
    pub(crate) listeners: Arc<Held>,
    /// The requests being served.
    pub(crate) in_flight: InFlightCount,
    /// The copies of requests, which may take longer than their requests.
    pub(crate) shadow: Option<Arc<Shadow>>,
    /// The admin API, which ends when it has sent its last answer.
    pub(crate) admin: InFlightCount,
    /// What requests look at.
    pub(crate) draining: Draining,
    /// Told when nothing is left to wait for.
    pub(crate) drained: mpsc::Sender<()>,
}

impl PublicListeners {
    pub(crate) fn new(
        endpoints: Vec<Endpoint>,
        mut proxy: HttpProxy<Gateway>,
        config: &HttpConfig,
        metrics: ConnectionMetrics,
        admin_address: SocketAddr,
        readiness: Readiness,
        drain: Drain,
    ) -> Self {
        proxy.h2_options = Some(http2_options(config));
        proxy.server_options = Some(server_options(config));
        let (tell, told) = watch::channel(false);
        let places = Places::new(config.max_connections, &metrics);
        let first = config.header_timeout.get();
        let idle = config.keepalive_timeout.get();
        let head_deadlines = HeadDeadlines { first, next: idle + first, silence_s: idle.as_secs() };
        let shared = Arc::new(Shared { proxy: Arc::new(proxy), places, metrics, head_deadlines, drain: told });
        let idle_grace = config.idle_grace.get();
        Self { endpoints, shared, idle_grace, tell, drain, admin_address, readiness: Some(readiness) }
    }

    /// Says where the gateway listens, for people and for whoever started it.
    fn announce(&self) {
        let address = |tls: bool| {
            let mut endpoints = self.endpoints.iter();
            endpoints.find(|endpoint| endpoint.tls.is_some() == tls).map(|endpoint| endpoint.bound.address.to_string())
        };
        tracing::info!(addr = address(false), tls_addr = address(true), admin_addr = %self.admin_address, "listening");
    }

    /// Clients learn with their next answer, or by GOAWAY, that the connection ends. Who asks
    /// nothing within the grace is cut off. Ends early when nobody is left. pingora sees to the deadline.
    async fn drain(&self) {
        let Drain { in_flight, draining, .. } = &self.drain;
        draining.begin();
        self.tell.send_replace(true);
        let told = async {
            time::sleep(self.idle_grace).await;
            self.shared.proxy.http_cleanup().await;
            loop {
                in_flight.none_left().await;
                time::sleep(SETTLE).await;
                if in_flight.get() == 0 {
                    return;
                }
            }
        };
        tokio::select! {
            () = told => {}
            () = self.shared.places.all_left() => {}
        }
        if let Some(shadow) = &self.drain.shadow {
            shadow.none_left().await;
        }
        // Whoever asked for the upgrade that ends this process is to have the answer.
        self.drain.admin.none_left().await;
    }
}

#[async_trait]
impl ServiceWithDependents for PublicListeners {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        telemetry::metrics::watch_runtime();
        self.announce();
        let mut accepting = JoinSet::new();
        let (stop, stopped) = watch::channel(false);
        for endpoint in self.endpoints.drain(..) {
            accepting.spawn(endpoint.accept(self.shared.clone(), stopped.clone()));
        }
        ready.notify_ready();
        if let Some(readiness) = self.readiness.take() {
            readiness.announce();
        }
        let _ = shutdown.wait_for(|stop| *stop).await;
        self.drain.listeners.close();
        stop.send_replace(true);
        while accepting.join_next().await.is_some() {}
        self.drain().await;
        // Nobody listens any more when the drain deadline is over.
        let _ = self.drain.drained.send(());
    }

    fn name(&self) -> &str {
        "gateway"
    }
}

fn http2_options(config: &HttpConfig) -> H2Options {
    let bytes = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(config.http2.max_streams)
        .max_pending_accept_reset_streams(config.http2.max_pending_resets)
        .max_local_error_reset_streams(Some(config.http2.max_error_resets))
        .max_header_list_size(bytes(config.header_limit.bytes()))
        .initial_window_size(bytes(config.http2.stream_window.bytes()))
        .initial_connection_window_size(bytes(config.http2.connection_window.bytes()));
    options
}

fn server_options(config: &HttpConfig) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(config.keepalive_timeout.get());
    options
}
