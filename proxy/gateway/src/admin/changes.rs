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
    control::{Change, ChangeError, Changed, Rollback, chain, on_blocking_thread},
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

/// `PUT /api/v1/routes/{name}/weight`
pub(super) async fn set_weight(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let (route, to, changed) = set_share(&state, &name, &asked, |route, to| Change::Weight { route, to }).await?;
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
    let (route, to, changed) = set_share(&state, &name, &asked, |route, to| Change::SetShadow { route, to }).await?;
    Ok(Json(json!({
        "route": name,
        "from_percent": changed.before.shadow(route),
        "to_percent": to,
        "revision": changed.revision,
        "hash": changed.hash,
        "changed": changed.changed,
    })))
}

/// Reads which share is wanted of which route, and makes the change that `change` says it is.
async fn set_share(
    state: &AdminState,
    name: &str,
    asked: &Asked,
    change: impl FnOnce(RouteId, Weight) -> Change,
) -> Result<(RouteId, Weight, Changed), Refused> {
    let route = state.route(name)?;
    let ShareRequest { percent, note } = asked.read()?;
    let to = Weight::from_percent(percent)
        .map_err(|problem| Refused::new(StatusCode::BAD_REQUEST, "invalid_percent", problem.to_string()))?;
    let changed = asked.change(state, &note, change(route, to)).await?;
    Ok((route, to, changed))
}

/// `POST /api/v1/routes/{name}/rollback`
pub(super) async fn roll_back(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let route = state.route(&name)?;
    if !state.control.table().get(route).sides.is_split() {
        return Err(ChangeError::OneSided(name).into());
    }
    // What is in force here decides: a rollback asks no store whether it may be.
    state.control.may_leave_the_candidate(route)?;
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
    let table = state.control.table();
    let staying = rollback.staying.iter().map(|id| {
        let route = table.get(*id);
        let slice = route.slice.as_ref().map(|slice| &table.slice(slice.id).name);
        json!({ "route": route.name, "slice": slice })
    });
    json!({
        "routes": routes.collect::<Vec<_>>(),
        "staying": staying.collect::<Vec<_>>(),
        "revision": rollback.revision,
        "persisted": rollback.kept.is_ok(),
        "persist_error": rollback.kept.as_ref().err().map(|error| chain(error)),
        "shared": rollback.unshared.is_none(),
        "share_error": rollback.unshared,
        "set_aside": rollback.set_aside,
    })
}
