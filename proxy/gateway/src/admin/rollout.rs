//! The rollout document as a whole: read, planned, replaced, looked back on, undone.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use layered_config::{Origin, Problems};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AdminState, Refused,
    asked::{Asked, Note, read},
};
use crate::control::{Change, Changed, HistoryError, HistoryQuery, on_blocking_thread};

/// As many entries are shown unless more are asked for, and at most.
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1_000;

/// A document that somebody sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentRequest {
    document: String,
    #[serde(flatten)]
    note: Note,
}

/// What is to be undone.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct UndoRequest {
    revision: Option<u64>,
    confirm: bool,
    #[serde(flatten)]
    note: Note,
}

/// Which part of the history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryParameters {
    route: Option<String>,
    before: Option<u64>,
    limit: Option<usize>,
}

/// What must be in the history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyParameters {
    head: Option<String>,
}

/// `GET /api/v1/rollout`. Its `ETag` is the revision.
pub(super) async fn show(State(state): State<Arc<AdminState>>) -> Response {
    let control = state.control.clone();
    let head = on_blocking_thread(move || control.head()).await;
    let tag = format!("\"{}\"", head.revision);
    let shown = json!({
        "revision": head.revision,
        "hash": head.hash,
        "document": head.document,
        "epochs": head.epochs,
        "revision_in_force": state.control.snapshot().revision(),
        "pending_rollbacks": state.control.pending_rollbacks(),
        "problem": state.control.problem(),
    });
    ([(header::ETAG, tag)], Json(shown)).into_response()
}

/// `POST /api/v1/rollout/plan`
pub(super) async fn plan(State(state): State<Arc<AdminState>>, body: Bytes) -> Result<Json<Value>, Refused> {
    let request: DocumentRequest = read(&body)?;
    let control = state.control.clone();
    let plan = on_blocking_thread(move || control.plan(&request.document)).await;
    Ok(Json(json!(plan.map_err(|problems| invalid(&problems))?)))
}

/// `PUT /api/v1/rollout`
pub(super) async fn replace(State(state): State<Arc<AdminState>>, asked: Asked) -> Result<Json<Value>, Refused> {
    let request: DocumentRequest = asked.read()?;
    let changed = asked.change(&state, &request.note, Change::Document(request.document)).await?;
    Ok(Json(changed_answer(&changed)))
}

/// `POST /api/v1/undo`
pub(super) async fn undo(State(state): State<Arc<AdminState>>, asked: Asked) -> Result<Json<Value>, Refused> {
    let request: UndoRequest = asked.read_or_default()?;
    let (by, expect) = asked.signed(&request.note)?;
    let control = state.control.clone();
    let undo = move || control.undo(request.revision, request.confirm, &by, expect);
    Ok(Json(changed_answer(&on_blocking_thread(undo).await?)))
}

/// `GET /api/v1/history`, the latest first.
pub(super) async fn history(
    State(state): State<Arc<AdminState>>,
    Query(asked): Query<HistoryParameters>,
) -> Result<Json<Value>, Refused> {
    let limit = asked.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let query = HistoryQuery { route: asked.route, before: asked.before, limit };
    let control = state.control.clone();
    let entries = on_blocking_thread(move || control.history(&query)).await?;
    Ok(Json(json!({ "entries": entries })))
}

/// `GET /api/v1/history/verification`. A history that does not hold together is an answer, no error.
pub(super) async fn verification(
    State(state): State<Arc<AdminState>>,
    Query(asked): Query<VerifyParameters>,
) -> Result<Json<Value>, Refused> {
    let control = state.control.clone();
    match on_blocking_thread(move || control.verify_history(asked.head)).await {
        Ok(verified) => Ok(Json(json!({
            "verified": true, "revisions": verified.revisions, "head": verified.head, "problem": null,
        }))),
        Err(HistoryError::Broken(broken)) => Ok(Json(json!({
            "verified": false, "revision": broken.revision, "problem": broken.to_string(),
        }))),
        Err(HistoryError::Store(error)) => Err(error.into()),
    }
}

fn changed_answer(changed: &Changed) -> Value {
    json!({
        "revision": changed.revision,
        "hash": changed.hash,
        "changed": changed.changed,
        "changes": changed.differences,
    })
}

/// What is wrong with a document that was sent, place by place.
pub(super) fn invalid(problems: &Problems) -> Refused {
    let places = problems.iter().map(|problem| {
        let place = match &problem.origin {
            Origin::File { line, column, .. } => Some((line, column)),
            Origin::Environment { .. } | Origin::Default => None,
        };
        json!({
            "line": place.map(|(line, _)| line),
            "column": place.map(|(_, column)| column),
            "key": problem.key,
            "message": problem.message,
            "fix": problem.fix,
        })
    });
    let message = format!("the document was refused, and nothing was changed: {}", problems.summary());
    Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "rollout_document_invalid", message)
        .with(json!({ "problems": places.collect::<Vec<_>>() }))
}
