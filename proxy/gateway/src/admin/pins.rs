//! Keys that an operator puts on a side, whatever the weight.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Extension, Path, State},
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AdminState, Operator, Refused,
    changes::{Note, find, read, read_or_default},
};
use crate::{
    control::{Change, on_blocking_thread},
    decision::Side,
    rollout::MAX_KEY_BYTES,
};

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
    let route = find(&state, &name)?;
    let snapshot = state.control.snapshot();
    let pins = snapshot.pins(route).sorted().into_iter().map(|(key, side)| json!({ "key": key, "side": side }));
    Ok(Json(json!({ "route": name, "pins": pins.collect::<Vec<_>>() })))
}

/// `PUT /api/v1/routes/{name}/pins/{key}`
pub(super) async fn pin(
    State(state): State<Arc<AdminState>>,
    Extension(operator): Extension<Operator>,
    Path((name, key)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let request: PinRequest = read(&body)?;
    set(&state, name, key, Some(request.side), (&request.note, &operator, &headers)).await
}

/// `DELETE /api/v1/routes/{name}/pins/{key}`. Without such a pin nothing changes.
pub(super) async fn unpin(
    State(state): State<Arc<AdminState>>,
    Extension(operator): Extension<Operator>,
    Path((name, key)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let note = read_or_default(&body)?;
    set(&state, name, key, None, (&note, &operator, &headers)).await
}

async fn set(
    state: &AdminState,
    name: String,
    key: String,
    side: Option<Side>,
    (note, operator, headers): (&Note, &Operator, &HeaderMap),
) -> Result<Json<Value>, Refused> {
    let route = find(state, &name)?;
    checked_key(&key)?;
    let (by, expect) = (note.authorship(operator)?, note.expect(headers)?);
    let (control, change) = (state.control.clone(), Change::Pin { route, key: key.clone(), side });
    let changed = on_blocking_thread(move || control.change(&change, &by, expect)).await?;
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
