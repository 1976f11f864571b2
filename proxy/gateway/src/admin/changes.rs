//! What an operator changes route by route: weights, and the way back.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Extension, Path, State},
    http::{HeaderMap, StatusCode, header},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{AdminState, Operator, Refused};
use crate::{
    control::{Authorship, Change, ChangeError, Expect, Rollback, StoreError, chain, on_blocking_thread},
    rollout::Weight,
    route_table::RouteId,
};

/// The longest actor or reason that is kept.
const MAX_WORDS_CHARS: usize = 500;

/// The body of a weight change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightRequest {
    percent: f64,
    #[serde(flatten)]
    note: Note,
}

/// Who asks, why, and which revision they had in mind. Each may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Note {
    actor: String,
    reason: String,
    expected_revision: Option<u64>,
}

impl Note {
    /// Who asks, once their words are found to be words, beside whose token they sent.
    pub(super) fn authorship(&self, operator: &Operator) -> Result<Authorship, Refused> {
        for words in [&self.actor, &self.reason] {
            if words.chars().count() > MAX_WORDS_CHARS || words.chars().any(char::is_control) {
                let message = format!("actor and reason have at most {MAX_WORDS_CHARS} characters, on one line");
                return Err(Refused::new(StatusCode::BAD_REQUEST, "invalid_request", message));
            }
        }
        let or_unknown = |text: &String| if text.is_empty() { "not given".to_owned() } else { text.clone() };
        Ok(Authorship::new(or_unknown(&self.actor), or_unknown(&self.reason), &operator.name))
    }

    /// The revision in the body, or else in `If-Match`.
    pub(super) fn expect(&self, headers: &HeaderMap) -> Result<Expect, Refused> {
        let Some(wanted) = headers.get(header::IF_MATCH) else { return Ok(self.expected_revision.into()) };
        let tag = wanted.to_str().unwrap_or_default().trim();
        match tag.trim_matches('"').parse() {
            _ if tag == "*" => Ok(Expect::Any),
            Ok(revision) if self.expected_revision.is_none_or(|expected| expected == revision) => {
                Ok(Expect::Revision(revision))
            }
            _ => {
                let message =
                    "If-Match is the number of a revision in quotes, the same as expected_revision if both are given";
                Err(Refused::new(StatusCode::BAD_REQUEST, "invalid_request", message))
            }
        }
    }
}

/// `PUT /api/v1/routes/{name}/weight`
pub(super) async fn set_weight(
    State(state): State<Arc<AdminState>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let route = find(&state, &name)?;
    let request: WeightRequest = read(&body)?;
    let to = Weight::from_percent(request.percent)
        .map_err(|problem| Refused::new(StatusCode::BAD_REQUEST, "invalid_percent", problem.to_string()))?;
    let (by, expect) = (request.note.authorship(&operator)?, request.note.expect(&headers)?);
    let control = state.control.clone();
    let changed = on_blocking_thread(move || control.change(&Change::Weight { route, to }, &by, expect)).await?;
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

/// `POST /api/v1/routes/{name}/rollback`
pub(super) async fn roll_back(
    State(state): State<Arc<AdminState>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let route = find(&state, &name)?;
    if !state.control.table().get(route).sides.is_split() {
        return Err(ChangeError::OneSided(name).into());
    }
    take_back(&state, vec![route], &operator, &headers, &body).await
}

/// `POST /api/v1/rollback`
pub(super) async fn roll_back_all(
    State(state): State<Arc<AdminState>>,
    Extension(operator): Extension<Operator>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let all = state.control.table().iter().map(|(id, _)| id).collect();
    take_back(&state, all, &operator, &headers, &body).await
}

async fn take_back(
    state: &AdminState,
    routes: Vec<RouteId>,
    operator: &Operator,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Json<Value>, Refused> {
    let note: Note = read_or_default(body)?;
    let (by, expect) = (note.authorship(operator)?, note.expect(headers)?);
    let control = state.control.clone();
    let rollback = on_blocking_thread(move || control.roll_back_expecting(&routes, &by, expect)).await?;
    Ok(Json(rollback_answer(state, &rollback)))
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

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "invalid_request", error.to_string()))
}

pub(super) fn read_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refused> {
    if body.is_empty() { Ok(T::default()) } else { read(body) }
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        let message = chain(&error);
        let refused = |status, code| Self::new(status, code, message);
        match error {
            ChangeError::OneSided(_) => refused(StatusCode::CONFLICT, "route_one_sided"),
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
