//! The HTTP side: thin handlers over the store, the code and the invoker.
//!
//! Two families of routes with the same answers: the `/api/v1` contract that the monolith serves
//! too, and the shorter routes of the new contract. The former refuse with its bodies, the latter with problems.

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
mod problems;
mod refusal;
mod text_refusal;
mod triggers;
mod webhooks;

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware};
use domain::Runtime;
use service::{Admin, DocumentError, FLUSH_PATH, Routes};
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

/// What they are, for clients; it is held to them.
const DOCUMENT: &str = include_str!("../../openapi.json");

/// The routes.
///
/// # Errors
/// When they are not those of the document.
pub fn router<E: Executor>(api: Arc<Api<E>>) -> Result<Router, DocumentError> {
    let guard = middleware::from_fn_with_state(Arc::clone(&api), dry_runs::guard::<E>);
    let guarded = |routes: Routes<Arc<Api<E>>>| routes.layered(|router| router.layer(guard.clone()));
    let new = guarded(new_routes()).layered(|router| router.layer(middleware::from_fn(problems::answer)));
    Ok(guarded(routes_of_the_monolith()).merge(new).documented_by(DOCUMENT)?.with_state(api))
}

/// What the monolith answers too, with its error bodies.
fn routes_of_the_monolith<E: Executor>() -> Routes<Arc<Api<E>>> {
    Routes::default()
        .post("/api/v1/functions", functions::create)
        .get("/api/v1/functions", functions::list)
        .get("/api/v1/functions/{id}", functions::detail)
        .put("/api/v1/functions/{id}", functions::change)
        .delete("/api/v1/functions/{id}", functions::delete)
        .post("/api/v1/functions/{id}/invoke", invocations::invoke)
        .get("/api/v1/functions/{id}/executions", invocations::history)
        .post("/api/v1/functions/{id}/triggers/cron", triggers::create)
        .get("/api/v1/functions/{id}/triggers/cron", triggers::list)
        .delete("/api/v1/triggers/cron/{id}", triggers::delete)
        .post("/api/v1/functions/{id}/webhooks", webhooks::create)
        .delete("/api/v1/webhooks/{id}", webhooks::delete)
        .get("/webhooks/{*path}", webhooks::receive)
        .post("/webhooks/{*path}", webhooks::receive)
        .get("/api/v1/functions/{id}/events", events::list)
        .get("/api/v1/dlq", dead_letters::list)
        .delete("/api/v1/dlq/{id}", dead_letters::delete)
        .post("/api/v1/dlq/{id}/retry", dead_letters::retry)
}

/// What it never had.
fn new_routes<E: Executor>() -> Routes<Arc<Api<E>>> {
    Routes::default()
        .get("/functions", functions::array_or_one)
        .get("/functions/{id}", functions::detail)
        .post("/functions/{id}/invoke", invocations::invoke)
        .post("/invoke", invocations::invoke_named)
        .post("/webhooks/build-status/{job_id}", build_status::receive)
        .get("/triggers/cron/{id}", triggers::show)
        .patch("/triggers/cron/{id}", triggers::change)
        .get("/admin/cron", admin::cron)
        .get("/admin/events", admin::events)
        .post("/admin/{what}/{verb}", admin::change)
        .post(dry_run::HANDSHAKE_PATH, dry_runs::handshake)
        .get(only_here::PATH, only_here::list)
        .post(FLUSH_PATH, flush::flush)
}
