//! Writes what was answered and is not in the database yet. Whoever moves the rows to another database asks for it
//! while no request is under way: then every execution that a client was told of is among the rows.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};

use super::{Api, refusal::Refusal};
use crate::executor::Executor;

/// Beside the handshake of dry runs: it is between the toolkit and this service, and no part of the contract.
pub const PATH: &str = "/.well-known/strangler/flush";

/// Answers when the rows of every call that has ended are in the database.
pub async fn flush<E: Executor>(State(api): State<Arc<Api<E>>>) -> Result<StatusCode, Refusal> {
    api.invoker.recorder.flush(api.flush_timeout).await.map_err(Refusal::record)?;
    Ok(StatusCode::NO_CONTENT)
}
