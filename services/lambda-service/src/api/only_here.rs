//! What the monolith could not serve if every request went back to it. A gateway asks now and again, so that a
//! rollback can say it without asking.

use std::sync::Arc;

use axum::{Json, extract::State};
use domain::contract::ContractError;
use serde::Serialize;

use super::{Api, refusal::Refusal};
use crate::executor::Executor;

/// Beside the handshake of dry runs: it is between the gateway and this service, and no part of the contract.
pub const PATH: &str = "/.well-known/strangler/only-here";

/// The most keys in one answer.
const LISTED: i64 = 1_000;

/// The answer.
#[derive(Serialize)]
pub struct OnlyHere {
    /// Ids of functions, the newest first.
    keys: Vec<String>,
    /// How many there are in all.
    count: i64,
}

/// Functions whose runtime the monolith does not know, and those that are packages.
pub async fn list<E: Executor>(State(api): State<Arc<Api<E>>>) -> Result<Json<OnlyHere>, Refusal> {
    let listed = api.invoker.store.functions_only_here(&api.legacy_runtimes, LISTED).await;
    let (ids, count) = listed.map_err(|error| Refusal::store(&error, ContractError::GetFailed))?;
    Ok(Json(OnlyHere { keys: ids.iter().map(ToString::to_string).collect(), count }))
}
