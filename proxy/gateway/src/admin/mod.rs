//! The admin API: what the operator's command line and the console talk to, on a listener of its own.
//!
//! It listens on loopback only, unless it speaks TLS; it wants a token, whose role says whether its
//! holder may change anything, and whose name goes into the history; and it refuses requests that a
//! browser may have been tricked into sending: a `Host` that is no loopback name (DNS rebinding), or any
//! `Origin` but its own.

mod access;
mod asked;
mod changes;
mod console;
mod events;
mod limits;
mod pins;
mod ramps;
mod refused;
mod reports;
mod rollout;
mod shadow;
mod slices;
mod tls_listener;
mod tokens;
mod upgrade;
mod views;

use std::{
    io,
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    middleware,
    routing::{get, post, put},
};
use chrono::{DateTime, Utc};
use pingora::{server::ShutdownWatch, services::background::BackgroundService};

use crate::{
    config::AdminConfig,
    control::Control,
    metrics::Metrics,
    only_candidate::OnlyCandidate,
    ramp::Ramps,
    request_context::InFlight,
    route_table::RouteId,
    shadow::Shadow,
    slices::{Fleet, Reports, Slices},
    tls::{self, Certificates},
    upgrade::UpgradeRequests,
    upstream::Upstreams,
};
pub(crate) use events::Streams;
pub(crate) use refused::Refused;
use tls_listener::TlsListener;
pub(crate) use tokens::{Operator, Tokens};

/// The longest body of a change: a number and two sentences.
const BODY_LIMIT_BYTES: usize = 16 * 1024;

/// The longest body with a document. JSON at most doubles the text that people write.
const DOCUMENT_LIMIT_BYTES: usize = 2 * 1024 * 1024;

/// What shows what a document would change.
const PLAN_PATH: &str = "/api/v1/rollout/plan";

/// The admin API and its listener.
pub struct Admin {
    state: Arc<AdminState>,
    certificates: Option<Arc<Certificates>>,
    /// What it lets go of while a drain goes on: the listener, and then what the drain waits for.
    taken_by_start: Mutex<Option<(TcpListener, InFlight)>>,
}

/// What the handlers work on.
pub(crate) struct AdminState {
    pub(crate) config: AdminConfig,
    pub(crate) tokens: Tokens,
    pub(crate) control: Arc<Control>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) only_candidate: Arc<OnlyCandidate>,
    pub(crate) ramps: Arc<Ramps>,
    pub(crate) slices: Arc<Slices>,
    pub(crate) fleet: Option<Fleet>,
    pub(crate) reports: Reports,
    pub(crate) shadow: Option<Arc<Shadow>>,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) started: Instant,
    pub(crate) upgrades: UpgradeRequests,
    pub(crate) streams: Streams,
}

impl AdminState {
    /// The route of this name.
    fn route(&self, name: &str) -> Result<RouteId, Refused> {
        let missing = || Refused::new(StatusCode::NOT_FOUND, "route_not_found", format!("there is no route `{name}`"));
        self.control.table().by_name(name).ok_or_else(missing)
    }
}

impl Admin {
    /// Serves the API on this listener, which must not block, over TLS if there are certificates.
    /// Lets go of `serving` when it has been told to stop and its last answer has been sent.
    pub(crate) fn new(
        state: AdminState,
        listener: TcpListener,
        certificates: Option<Arc<Certificates>>,
        serving: InFlight,
    ) -> Self {
        Self { state: Arc::new(state), certificates, taken_by_start: Mutex::new(Some((listener, serving))) }
    }

    async fn serve(&self, listener: TcpListener, stopped: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let router = router(self.state.clone());
        match self.state.config.tls.as_ref().zip(self.certificates.clone()) {
            None => axum::serve(listener, router).with_graceful_shutdown(stopped).await,
            Some((tls, certificates)) => {
                let config = tls::server_config(tls, certificates, &[tls::HTTP1]);
                let listener = TlsListener::new(listener, config, tls.handshake_timeout.get())?;
                axum::serve(listener, router).with_graceful_shutdown(stopped).await
            }
        }
    }
}

#[async_trait]
impl BackgroundService for Admin {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        telemetry::metrics::watch_runtime();
        let taken = self.taken_by_start.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((listener, _serving)) = taken else { return };
        let state = self.state.clone();
        let stopped = async move {
            let _ = shutdown.wait_for(|stopping| *stopping).await;
            state.streams.stop();
        };
        if let Err(error) = self.serve(listener, stopped).await {
            tracing::error!(%error, "the admin API ended");
        }
    }
}

fn router(state: Arc<AdminState>) -> Router {
    let guarded = Router::new()
        .route("/api/v1/routes", get(views::routes))
        .route("/api/v1/status", get(views::status))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/routes/{name}/weight", put(changes::set_weight))
        .route("/api/v1/routes/{name}/shadow", put(changes::set_shadow))
        .route("/api/v1/routes/{name}/rollback", post(changes::roll_back))
        .route("/api/v1/routes/{name}/only-candidate", get(views::only_candidate))
        .route("/api/v1/routes/{name}/pins", get(pins::list))
        .route("/api/v1/routes/{name}/pins/{key}", put(pins::pin).delete(pins::unpin))
        .route("/api/v1/ramps", get(ramps::list))
        .route("/api/v1/routes/{name}/ramp/{command}", post(ramps::command))
        .route("/api/v1/limits", get(limits::list))
        .route("/api/v1/limits/{policy}", put(limits::set).delete(limits::unset))
        .route("/api/v1/limits/{policy}/overrides/{key}", put(limits::set_override).delete(limits::unset_override))
        .route("/api/v1/shadow", get(shadow::report))
        .route("/api/v1/shadow/mismatches", get(shadow::list))
        .route("/api/v1/shadow/mismatches/{id}", get(shadow::show))
        .route("/api/v1/shadow/ignore", post(shadow::ignore))
        .route("/api/v1/slices", get(slices::list))
        .route("/api/v1/slices/{name}/stage", put(slices::set_stage))
        .route(
            "/api/v1/slices/{name}/fence",
            get(slices::look).post(slices::place).put(slices::renew).delete(slices::lift),
        )
        .route("/api/v1/rollback", post(changes::roll_back_all))
        .route("/api/v1/upgrade", post(upgrade::upgrade))
        .route("/api/v1/undo", post(rollout::undo))
        .route("/api/v1/history", get(rollout::history))
        .route("/api/v1/history/verification", get(rollout::verification))
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .merge(documents())
        .merge(reported())
        .route_layer(middleware::from_fn_with_state(state.clone(), access::require_token));
    let metrics = Router::new().route("/metrics", get(views::metrics));
    let metrics = if state.config.metrics_need_token {
        metrics.route_layer(middleware::from_fn_with_state(state.clone(), access::require_token))
    } else {
        metrics
    };
    Router::new()
        .route("/livez", get(views::alive))
        .route("/readyz", get(views::alive))
        .merge(console::router())
        .merge(metrics)
        .merge(guarded)
        .fallback(|| async { Refused::new(StatusCode::NOT_FOUND, "not_found", "there is no such resource") })
        .method_not_allowed_fallback(|| async {
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the resource has no such method")
        })
        .layer(middleware::from_fn_with_state(state.clone(), access::refuse_foreign))
        .with_state(state)
}

/// What takes whole documents in its bodies.
fn documents() -> Router<Arc<AdminState>> {
    Router::new()
        .route("/api/v1/rollout", get(rollout::show).put(rollout::replace))
        .route(PLAN_PATH, post(rollout::plan))
        .layer(DefaultBodyLimit::max(DOCUMENT_LIMIT_BYTES))
}

/// What takes what the migration tool reports.
fn reported() -> Router<Arc<AdminState>> {
    Router::new()
        .route("/api/v1/slices/{name}/reports/{about}", get(reports::get).put(reports::put))
        .layer(DefaultBodyLimit::max(reports::LIMIT_BYTES))
}
