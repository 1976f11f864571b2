//! The HTTP side: thin handlers over the store, the code and the invoker.
//!
//! Two families of routes with the same answers: the `/api/v1` contract that the monolith serves
//! too, and the shorter routes of the new contract.

mod admin;
mod async_calls;
mod build_status;
mod dead_letters;
mod dry_runs;
mod events;
mod flush;
mod functions;
mod invocations;
mod only_here;
mod page;
mod refusal;
mod text_refusal;
mod triggers;
mod webhooks;

use std::{sync::Arc, time::Duration};

use axum::{
    Router, middleware,
    routing::{delete, get, post},
};
use domain::Runtime;
use service::Admin;
use standardwebhooks::Webhook;

use crate::{
    code::CodeStore, dry_runs::DryRuns, events::Intake, executor::Executor, invocation::Invoker, webhooks::Receipt,
};

/// What handlers work with.
pub struct Api<E: Executor> {
    /// Runs calls, and knows the store, the pool and the recorder.
    pub invoker: Arc<Invoker<E>>,
    /// Runs calls that leave no trace, where that is configured.
    pub dry_runs: Option<DryRuns<E>>,
    /// Where code is.
    pub code: Arc<CodeStore>,
    /// The most a request's body may hold, for the answer to one that holds more.
    pub body_limit_bytes: u64,
    /// How long a history waits for this instance's own rows.
    pub flush_timeout: Duration,
    /// Knows the messages of the build service by their signature, where that is configured.
    pub builds: Option<Webhook>,
    /// What the monolith can run.
    pub legacy_runtimes: Vec<Runtime>,
    /// Accepts events.
    pub intake: Intake,
    /// Receives webhooks.
    pub receipt: Receipt,
    /// How often an asynchronous call is tried again.
    pub max_event_retries: u32,
    /// The most that the payload of an asynchronous call may hold.
    pub max_event_payload_bytes: u64,
    /// Whom the routes of operators are for.
    pub admin: Admin,
}

/// The routes.
pub fn router<E: Executor>(api: Arc<Api<E>>) -> Router {
    let guard = middleware::from_fn_with_state(Arc::clone(&api), dry_runs::guard::<E>);
    Router::new()
        .route("/api/v1/functions", post(functions::create).get(functions::list))
        .route("/api/v1/functions/{id}", get(functions::detail).put(functions::change).delete(functions::delete))
        .route("/api/v1/functions/{id}/invoke", post(invocations::invoke))
        .route("/api/v1/functions/{id}/executions", get(invocations::history))
        .route("/functions", get(functions::array_or_one))
        .route("/functions/{id}", get(functions::detail))
        .route("/functions/{id}/invoke", post(invocations::invoke))
        .route("/invoke", post(invocations::invoke_named))
        .route("/webhooks/build-status/{job_id}", post(build_status::receive))
        .route(dry_run::HANDSHAKE_PATH, post(dry_runs::handshake))
        .route(only_here::PATH, get(only_here::list))
        .route(flush::PATH, post(flush::flush))
        .merge(event_routes())
        .layer(guard)
        .with_state(api)
}

/// The routes of triggers, webhooks, events and dead letters, and those of operators.
fn event_routes<E: Executor>() -> Router<Arc<Api<E>>> {
    Router::new()
        .route("/api/v1/functions/{id}/triggers/cron", post(triggers::create).get(triggers::list))
        .route("/api/v1/triggers/cron/{id}", delete(triggers::delete))
        .route("/api/v1/functions/{id}/webhooks", post(webhooks::create))
        .route("/api/v1/webhooks/{id}", delete(webhooks::delete))
        .route("/webhooks/{*path}", get(webhooks::receive).post(webhooks::receive))
        .route("/api/v1/functions/{id}/events", get(events::list))
        .route("/api/v1/dlq", get(dead_letters::list))
        .route("/api/v1/dlq/{id}", delete(dead_letters::delete))
        .route("/api/v1/dlq/{id}/retry", post(dead_letters::retry))
        .route("/triggers/cron/{id}", get(triggers::show).patch(triggers::change))
        .route("/admin/cron", get(admin::cron))
        .route("/admin/events", get(admin::events))
        .route("/admin/{what}/{verb}", post(admin::change))
}
