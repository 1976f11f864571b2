//! Keys that an operator puts on a side, whatever the weight.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AdminState, Refused,
    asked::{Asked, Note},
};
use crate::{control::Change, decision::Side, rollout::MAX_KEY_BYTES};

/// Where a key is to go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinRequest {
    side: Side,
    #[serde(flatten)]
    note: Note,
}

/// `GET /api/v1/routes/{name}/pins`
pub(super) async fn list(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refused> {
    let route = state.route(&name)?;
    let snapshot = state.control.snapshot();
    let pins = snapshot.pins(route).sorted().into_iter().map(|(key, side)| json!({ "key": key, "side": side }));
    Ok(Json(json!({ "route": name, "pins": pins.collect::<Vec<_>>() })))
}

/// `PUT /api/v1/routes/{name}/pins/{key}`
pub(super) async fn pin(
    State(state): State<Arc<AdminState>>,
    Path((name, key)): Path<(String, String)>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let request: PinRequest = asked.read()?;
    set(&state, name, key, Some(request.side), &request.note, &asked).await
}

/// `DELETE /api/v1/routes/{name}/pins/{key}`. Without such a pin nothing changes.
pub(super) async fn unpin(
    State(state): State<Arc<AdminState>>,
    Path((name, key)): Path<(String, String)>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    set(&state, name, key, None, &asked.read_or_default()?, &asked).await
}

async fn set(
    state: &AdminState,
    name: String,
    key: String,
    side: Option<Side>,
    note: &Note,
    asked: &Asked,
) -> Result<Json<Value>, Refused> {
    let route = state.route(&name)?;
    checked_key(&key)?;
    let changed = asked.change(state, note, Change::Pin { route, key: key.clone(), side }).await?;
    Ok(Json(json!({
        "route": name,
        "key": key,
        "from": changed.before.pins(route).get(&key),
        "to": changed.after.pins(route).get(&key),
        "revision": changed.revision,
        "hash": changed.hash,
    })))
}

/// A key that a document may hold.
pub(super) fn checked_key(key: &str) -> Result<(), Refused> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Ok(());
    }
    let message = format!("a key has 1 to {MAX_KEY_BYTES} bytes");
    Err(Refused::new(StatusCode::BAD_REQUEST, "invalid_key", message))
}
