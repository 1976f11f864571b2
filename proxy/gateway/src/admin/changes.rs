//! What an operator changes: weights, and the way back.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{AdminState, Refused};
use crate::{
    control::{Authorship, Rollback, WeightError, on_blocking_thread},
    rollout::Weight,
    route_table::RouteId,
};

/// The longest actor or reason that is logged.
const MAX_WORDS_CHARS: usize = 500;

/// The body of a weight change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightRequest {
    percent: f64,
    #[serde(flatten)]
    by: AuthorshipRequest,
}

/// Who asks, and why. Both may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AuthorshipRequest {
    actor: String,
    reason: String,
}

impl From<AuthorshipRequest> for Authorship {
    fn from(request: AuthorshipRequest) -> Self {
        let or_unknown = |text: String| if text.is_empty() { "not given".to_owned() } else { text };
        Self { actor: or_unknown(request.actor), reason: or_unknown(request.reason) }
    }
}

/// `PUT /api/v1/routes/{name}/weight`
pub(super) async fn set_weight(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let route = find(&state, &name)?;
    let request: WeightRequest = read(&body)?;
    let weight = Weight::from_percent(request.percent)
        .map_err(|problem| Refused::new(StatusCode::BAD_REQUEST, "invalid_percent", problem.to_string()))?;
    let by = checked(request.by)?;
    let change = on_blocking_thread(move || state.control.set_weight(route, weight, &by)).await?;
    Ok(Json(json!({
        "route": name,
        "from_percent": change.from,
        "to_percent": change.to,
        "epoch": change.epoch,
        "revision": change.revision,
    })))
}

/// `POST /api/v1/routes/{name}/rollback`
pub(super) async fn roll_back(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let route = find(&state, &name)?;
    if !state.control.table().get(route).sides.is_split() {
        return Err(WeightError::OneSided(name).into());
    }
    let by = checked(read_or_default(&body)?)?;
    let control = state.control.clone();
    let rollback = on_blocking_thread(move || control.roll_back(&[route], &by)).await;
    Ok(Json(rollback_answer(&state, &rollback)))
}

/// `POST /api/v1/rollback`
pub(super) async fn roll_back_all(State(state): State<Arc<AdminState>>, body: Bytes) -> Result<Json<Value>, Refused> {
    let by = checked(read_or_default(&body)?)?;
    let control = state.control.clone();
    let rollback = on_blocking_thread(move || control.roll_back_all(&by)).await;
    Ok(Json(rollback_answer(&state, &rollback)))
}

fn rollback_answer(state: &AdminState, rollback: &Rollback) -> Value {
    let routes = rollback.routes.iter().map(|(id, from, epoch)| {
        let name = &state.control.table().get(*id).name;
        json!({ "route": name, "from_percent": from, "epoch": epoch })
    });
    json!({
        "routes": routes.collect::<Vec<_>>(),
        "revision": rollback.revision,
        "persisted": rollback.kept.is_ok(),
        "persist_error": rollback.kept.as_ref().err().map(|error| crate::control::chain(error)),
        "set_aside": rollback.set_aside,
    })
}

fn find(state: &AdminState, name: &str) -> Result<RouteId, Refused> {
    let missing = || Refused::new(StatusCode::NOT_FOUND, "route_not_found", format!("there is no route `{name}`"));
    state.control.table().by_name(name).ok_or_else(missing)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "invalid_request", error.to_string()))
}

fn read_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refused> {
    if body.is_empty() { Ok(T::default()) } else { read(body) }
}

fn checked(request: AuthorshipRequest) -> Result<Authorship, Refused> {
    if [&request.actor, &request.reason].iter().any(|words| words.chars().count() > MAX_WORDS_CHARS) {
        let message = format!("actor and reason have at most {MAX_WORDS_CHARS} characters");
        return Err(Refused::new(StatusCode::BAD_REQUEST, "invalid_request", message));
    }
    Ok(request.into())
}

impl From<WeightError> for Refused {
    fn from(error: WeightError) -> Self {
        let (status, code) = match &error {
            WeightError::OneSided(_) => (StatusCode::CONFLICT, "route_one_sided"),
            WeightError::BrokenDocument(_) => (StatusCode::CONFLICT, "rollout_document_broken"),
            WeightError::File(_) => (StatusCode::INTERNAL_SERVER_ERROR, "rollout_file_failed"),
        };
        Self::new(status, code, crate::control::chain(&error))
    }
}
