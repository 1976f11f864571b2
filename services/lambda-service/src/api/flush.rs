//! Brings to its end what was accepted, and writes what was answered and is not in the database yet. Whoever moves the
//! rows to another database asks for it while no request is under way: then every event has ended, and every execution
//! that a client was told of is among the rows. The queue of events is this service's own and does not move.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, http::StatusCode};
use domain::contract::ContractError;
use tokio::time::Instant;

use super::{Api, refusal::Refusal};
use crate::executor::Executor;

/// Beside the handshake of dry runs: it is between the toolkit and this service, and no part of the contract.
pub const PATH: &str = "/.well-known/strangler/flush";

/// Between two looks at the events.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers when no event waits or is worked on, and the rows of every call that has ended are in the database.
pub async fn flush<E: Executor>(State(api): State<Arc<Api<E>>>) -> Result<StatusCode, Refusal> {
    let deadline = Instant::now() + api.flush_timeout;
    loop {
        let depth = api.invoker.store.event_queue_depth().await;
        let depth = depth.map_err(|error| Refusal::store(&error, ContractError::Unavailable))?;
        let left = depth.waiting + depth.in_flight;
        if left == 0 {
            break;
        }
        if Instant::now() >= deadline {
            return Err(Refusal::events_left(left));
        }
        tokio::time::sleep(PAUSE).await;
    }
    api.invoker.recorder.flush(deadline.duration_since(Instant::now())).await.map_err(Refusal::record)?;
    Ok(StatusCode::NO_CONTENT)
}
