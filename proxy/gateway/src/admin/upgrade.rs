//! Replacing the running process by a new one.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{AdminState, Refused};

/// Starts a successor. Answers when it has taken over, with its process id, or when it could not.
pub(super) async fn upgrade(State(state): State<Arc<AdminState>>) -> Response {
    match state.upgrades.upgrade().await {
        Ok(successor) => Json(json!({ "successor_pid": successor })).into_response(),
        Err(error) => Refused::new(StatusCode::CONFLICT, "not_upgraded", error.to_string()).into_response(),
    }
}
