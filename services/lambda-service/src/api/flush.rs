//! Brings to its end what was accepted, and writes what was answered and is not in the database yet. Whoever moves the
//! rows to another database asks for it while no request is under way: then every event has ended, and every execution
//! that a client was told of is among the rows. The queue of events is this service's own and does not move.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use domain::contract::ContractError;
use service::none_left;
use tokio::time::Instant;

use super::{Api, refusal::Refusal};
use crate::executor::Executor;

/// Answers when no event waits or is worked on, and the rows of every call that has ended are in the database.
pub async fn flush<E: Executor>(State(api): State<Arc<Api<E>>>) -> Result<StatusCode, Refusal> {
    let deadline = Instant::now() + api.flush_timeout;
    let count = || async { api.invoker.store.event_queue_depth().await.map(|depth| depth.waiting + depth.in_flight) };
    let left = none_left(deadline, count).await;
    match left.map_err(|error| Refusal::store(&error, ContractError::Unavailable))? {
        0 => {}
        left => return Err(Refusal::events_left(left)),
    }
    api.invoker.recorder.flush(deadline.duration_since(Instant::now())).await.map_err(Refusal::record)?;
    Ok(StatusCode::NO_CONTENT)
}
