//! What shadowing has found, and what of it is to be ignored.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use comparison::Selector;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    AdminState, Refused,
    asked::{Asked, Note},
};
use crate::{control::Change, shadow::Shadow};

/// As many mismatches are listed at once.
const MOST_LISTED: usize = 500;

/// Which mismatches to list.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    route: Option<String>,
    limit: usize,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { route: None, limit: 20 }
    }
}

/// `GET /api/v1/shadow`: counters are of this process, clusters of all that share the store. A store that
/// does not answer leaves them out and says so.
pub(super) async fn report(State(state): State<Arc<AdminState>>) -> Json<Value> {
    let Some(shadow) = &state.shadow else {
        return Json(json!({ "routes": [], "clusters": [], "store": null, "store_problem": null }));
    };
    let routes = shadow.report(&state.control.snapshot());
    let (clusters, problem) = match shadow.mismatches().clusters().await {
        Ok(mut clusters) => {
            clusters.sort_by(|one, two| two.count.cmp(&one.count).then_with(|| one.path.cmp(&two.path)));
            (clusters, None)
        }
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let store = shadow.mismatches().kind().as_str();
    Json(json!({ "routes": routes, "clusters": clusters, "store": store, "store_problem": problem }))
}

/// `GET /api/v1/shadow/mismatches?route=&limit=`: the latest first.
pub(super) async fn list(
    State(state): State<Arc<AdminState>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Refused> {
    let mismatches = shadow(&state)?.mismatches().latest(wanted.route, wanted.limit.min(MOST_LISTED)).await?;
    Ok(Json(json!({ "mismatches": mismatches })))
}

/// `GET /api/v1/shadow/mismatches/{id}`: with the rules that its route's answers are compared by now.
pub(super) async fn show(State(state): State<Arc<AdminState>>, Path(id): Path<String>) -> Result<Json<Value>, Refused> {
    let missing = || {
        let message = format!("there is no mismatch `{id}`, or no longer");
        Refused::new(StatusCode::NOT_FOUND, "mismatch_not_found", message)
    };
    let shadow = shadow(&state)?;
    let mismatch = shadow.mismatches().get(id.parse::<Uuid>().map_err(|_| missing())?).await?.ok_or_else(missing)?;
    let route = state.control.table().by_name(&mismatch.route);
    let rules = route.and_then(|route| shadow.rules(route, &state.control.snapshot()));
    Ok(Json(json!({ "mismatch": mismatch, "rules": rules })))
}

/// Where differences are to be ignored from now on.
#[derive(Debug, Deserialize)]
struct IgnoreRequest {
    route: String,
    path: String,
    #[serde(flatten)]
    note: Note,
}

/// `POST /api/v1/shadow/ignore`: in force with the revision of the rollout document that it makes.
pub(super) async fn ignore(State(state): State<Arc<AdminState>>, asked: Asked) -> Result<Json<Value>, Refused> {
    let IgnoreRequest { route, path, note } = asked.read()?;
    let id = state.route(&route)?;
    let wrong = |error: comparison::SelectorProblem| {
        Refused::new(StatusCode::BAD_REQUEST, "invalid_path", format!("`{path}` is no path: {error}"))
    };
    let place = Selector::parse(&path).map_err(wrong)?;
    let changed = asked.change(&state, &note, Change::IgnoreInShadow { route: id, place }).await?;
    let ignored: Vec<&str> = changed.after.shadow_ignored(id).iter().map(Selector::as_str).collect();
    Ok(Json(json!({
        "route": route,
        "path": path,
        "changed": changed.changed,
        "ignored": ignored,
        "revision": changed.revision,
        "hash": changed.hash,
    })))
}

fn shadow(state: &AdminState) -> Result<&Shadow, Refused> {
    state.shadow.as_deref().ok_or_else(|| {
        let message = "no route has settings for shadowing; add a table [routes.shadow] to one";
        Refused::new(StatusCode::CONFLICT, "not_shadowed", message)
    })
}
