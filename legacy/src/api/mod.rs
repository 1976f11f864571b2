//! The monolith's REST interface, to the letter of the contract.

mod cron_control;
mod dead_letters;
mod events;
mod flush;
mod functions;
mod page;
mod reply;
mod triggers;
mod webhooks;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{delete, get, post},
};
use objects::Objects;
use service::{Admin, FLUSH_PATH};

use crate::{bus::EventBus, invoker::Invoker, store::Store};

/// What the routes work with.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) objects: Objects,
    pub(crate) invoker: Arc<Invoker>,
    pub(crate) bus: Arc<dyn EventBus>,
    /// The most a request's body may hold; named in the refusal.
    pub(crate) body_limit_bytes: u64,
    /// How long a flush waits for events.
    pub(crate) flush_timeout: Duration,
    /// Whom the routes of operators are for.
    pub(crate) admin: Admin,
}

/// Every route of the contract but those that each service has (`/health`, `/metrics`, …).
pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .route("/api/v1/functions", post(functions::create).get(functions::list))
        .route("/api/v1/functions/{id}", get(functions::show).put(functions::update).delete(functions::delete))
        .route("/api/v1/functions/{id}/invoke", post(functions::invoke))
        .route("/api/v1/functions/{id}/executions", get(functions::executions))
        .route("/api/v1/functions/{id}/triggers/cron", post(triggers::create).get(triggers::list))
        .route("/api/v1/functions/{id}/webhooks", post(webhooks::create))
        .route("/api/v1/functions/{id}/events", get(events::list))
        .route("/api/v1/triggers/cron/{id}", delete(triggers::delete))
        .route("/api/v1/webhooks/{id}", delete(webhooks::delete))
        .route("/api/v1/dlq", get(dead_letters::list))
        .route("/api/v1/dlq/{id}", delete(dead_letters::delete))
        .route("/api/v1/dlq/{id}/retry", post(dead_letters::retry))
        .route("/webhooks/{*path}", get(webhooks::receive).post(webhooks::receive))
        .route("/admin/cron", get(cron_control::show))
        .route("/admin/cron/pause", post(cron_control::pause))
        .route("/admin/cron/resume", post(cron_control::resume))
        .route(FLUSH_PATH, post(flush::flush))
        .with_state(api)
}
