//! What an operator changes route by route: weights, and the way back.

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
use crate::{
    control::{Change, ChangeError, Rollback, StoreError, chain, on_blocking_thread},
    rollout::Weight,
    route_table::RouteId,
};

/// The body of a change of a share.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShareRequest {
    percent: f64,
    #[serde(flatten)]
    note: Note,
}

impl ShareRequest {
    fn share(&self) -> Result<Weight, Refused> {
        Weight::from_percent(self.percent)
            .map_err(|problem| Refused::new(StatusCode::BAD_REQUEST, "invalid_percent", problem.to_string()))
    }
}

/// `PUT /api/v1/routes/{name}/weight`
pub(super) async fn set_weight(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let route = find(&state, &name)?;
    let request: ShareRequest = asked.read()?;
    let to = request.share()?;
    let changed = asked.change(&state, &request.note, Change::Weight { route, to }).await?;
    Ok(Json(json!({
        "route": name,
        "from_percent": changed.before.get(route).weight,
        "to_percent": to,
        "epoch": changed.after.get(route).epoch,
        "revision": changed.revision,
        "hash": changed.hash,
        "changed": changed.changed,
    })))
}

/// `PUT /api/v1/routes/{name}/shadow`
pub(super) async fn set_shadow(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let route = find(&state, &name)?;
    let request: ShareRequest = asked.read()?;
    let to = request.share()?;
    let changed = asked.change(&state, &request.note, Change::SetShadow { route, to }).await?;
    Ok(Json(json!({
        "route": name,
        "from_percent": changed.before.shadow(route),
        "to_percent": to,
        "revision": changed.revision,
        "hash": changed.hash,
        "changed": changed.changed,
    })))
}

/// `POST /api/v1/routes/{name}/rollback`
pub(super) async fn roll_back(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let route = find(&state, &name)?;
    if !state.control.table().get(route).sides.is_split() {
        return Err(ChangeError::OneSided(name).into());
    }
    take_back(&state, vec![route], &asked).await
}

/// `POST /api/v1/rollback`
pub(super) async fn roll_back_all(State(state): State<Arc<AdminState>>, asked: Asked) -> Result<Json<Value>, Refused> {
    let all = state.control.table().iter().map(|(id, _)| id).collect();
    take_back(&state, all, &asked).await
}

async fn take_back(state: &AdminState, routes: Vec<RouteId>, asked: &Asked) -> Result<Json<Value>, Refused> {
    let (by, expect) = asked.signed(&asked.read_or_default()?)?;
    let control = state.control.clone();
    let rollback = on_blocking_thread(move || control.roll_back_expecting(&routes, &by, expect)).await?;
    Ok(Json(rollback_answer(state, &rollback)))
}

fn rollback_answer(state: &AdminState, rollback: &Rollback) -> Value {
    let routes = rollback.routes.iter().map(|(id, from, epoch)| {
        let name = &state.control.table().get(*id).name;
        let mut shown = json!({ "route": name, "from_percent": from, "epoch": epoch });
        if let Some(only_candidate) = state.only_candidate.view(*id) {
            shown["only_candidate"] = json!(only_candidate);
        }
        shown
    });
    json!({
        "routes": routes.collect::<Vec<_>>(),
        "revision": rollback.revision,
        "persisted": rollback.kept.is_ok(),
        "persist_error": rollback.kept.as_ref().err().map(|error| chain(error)),
        "shared": rollback.unshared.is_none(),
        "share_error": rollback.unshared,
        "set_aside": rollback.set_aside,
    })
}

pub(super) fn find(state: &AdminState, name: &str) -> Result<RouteId, Refused> {
    let missing = || Refused::new(StatusCode::NOT_FOUND, "route_not_found", format!("there is no route `{name}`"));
    state.control.table().by_name(name).ok_or_else(missing)
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        let message = chain(&error);
        let refused = |status, code| Self::new(status, code, message);
        match error {
            ChangeError::OneSided(_) => refused(StatusCode::CONFLICT, "route_one_sided"),
            ChangeError::NotShadowed(_) => refused(StatusCode::CONFLICT, "route_not_shadowed"),
            ChangeError::BrokenDocument(_) => refused(StatusCode::CONFLICT, "rollout_document_broken"),
            ChangeError::InvalidDocument(problems) => super::rollout::invalid(&problems),
            ChangeError::Conflict { expected, current, since } => refused(StatusCode::CONFLICT, "revision_conflict")
                .with(json!({ "expected_revision": expected, "revision": current, "changed_since": since })),
            ChangeError::NoSuchRevision(_) => refused(StatusCode::NOT_FOUND, "revision_not_found"),
            ChangeError::UndoesRollback { routes } => {
                refused(StatusCode::CONFLICT, "undoes_rollback").with(json!({ "routes": routes }))
            }
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::Conflict => (StatusCode::CONFLICT, "revision_conflict"),
            StoreError::File(_) | StoreError::Log { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "rollout_file_failed"),
            StoreError::BrokenLog { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "change_log_broken"),
            StoreError::Diverged(_) => (StatusCode::SERVICE_UNAVAILABLE, "rollout_store_diverged"),
            StoreError::Away(_) => (StatusCode::SERVICE_UNAVAILABLE, "rollout_store_away"),
            StoreError::Unknown(_) => (StatusCode::SERVICE_UNAVAILABLE, "rollout_change_unknown"),
            StoreError::Refused(_) | StoreError::Migrate(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "rollout_store_failed")
            }
        };
        let message = match &error {
            StoreError::Unknown(_) => chain(&error),
            _ => format!("{}; nothing was changed", chain(&error)),
        };
        Self::new(status, code, message)
    }
}
