//! The HTTP side: thin handlers over the store, the code and the invoker.
//!
//! Two families of routes with the same answers: the `/api/v1` contract that the monolith serves
//! too, and the shorter routes of the new contract.

mod functions;
mod invocations;
mod refusal;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};

use crate::{code::CodeStore, executor::Executor, invocation::Invoker};

/// What handlers work with.
pub struct Api<E: Executor> {
    /// Runs calls, and knows the store, the pool and the recorder.
    pub invoker: Invoker<E>,
    /// Where code is.
    pub code: Arc<CodeStore>,
    /// The most a request's body may hold, for the answer to one that holds more.
    pub body_limit_bytes: u64,
    /// How long a history waits for this instance's own rows.
    pub flush_timeout: Duration,
}

/// The routes.
pub fn router<E: Executor>(api: Arc<Api<E>>) -> Router {
    Router::new()
        .route("/api/v1/functions", post(functions::create).get(functions::list))
        .route("/api/v1/functions/{id}", get(functions::detail).put(functions::change).delete(functions::delete))
        .route("/api/v1/functions/{id}/invoke", post(invocations::invoke))
        .route("/api/v1/functions/{id}/executions", get(invocations::history))
        .route("/functions", get(functions::array_or_one))
        .route("/functions/{id}", get(functions::detail))
        .route("/functions/{id}/invoke", post(invocations::invoke))
        .route("/invoke", post(invocations::invoke_named))
        .with_state(api)
}
