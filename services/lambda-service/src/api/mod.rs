//! The HTTP side: thin handlers over the store, the code and the invoker.
//!
//! Two families of routes with the same answers: the `/api/v1` contract that the monolith serves
//! too, and the shorter routes of the new contract.

mod dry_runs;
mod functions;
mod invocations;
mod only_here;
mod refusal;

use std::{sync::Arc, time::Duration};

use axum::{
    Router, middleware,
    routing::{get, post},
};

use domain::Runtime;

use crate::{code::CodeStore, dry_runs::DryRuns, executor::Executor, invocation::Invoker};

/// What handlers work with.
pub struct Api<E: Executor> {
    /// Runs calls, and knows the store, the pool and the recorder.
    pub invoker: Invoker<E>,
    /// Runs calls that leave no trace, where that is configured.
    pub dry_runs: Option<DryRuns<E>>,
    /// Where code is.
    pub code: Arc<CodeStore>,
    /// The most a request's body may hold, for the answer to one that holds more.
    pub body_limit_bytes: u64,
    /// How long a history waits for this instance's own rows.
    pub flush_timeout: Duration,
    /// What the monolith can run.
    pub legacy_runtimes: Vec<Runtime>,
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
        .route(dry_run::HANDSHAKE_PATH, post(dry_runs::handshake))
        .route(only_here::PATH, get(only_here::list))
        .layer(guard)
        .with_state(api)
}
