//! `/admin/cron`: pausing the schedule, for an operator or for a cutover that hands it over.

use axum::{
    Json,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use domain::{ControlChange, ControlState};
use service::Access;

use super::{
    Api,
    reply::{TextRefusal, text_body},
};

pub(super) async fn show(State(api): State<Api>, headers: HeaderMap) -> Result<Json<ControlState>, TextRefusal> {
    admit(&api, &headers)?;
    let state = api.store.cron_state().await;
    state.map(Json).map_err(|error| TextRefusal::inside("the scheduler's state could not be read", &error))
}

pub(super) async fn pause(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ControlState>, TextRefusal> {
    change(&api, &headers, body, true).await
}

pub(super) async fn resume(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ControlState>, TextRefusal> {
    change(&api, &headers, body, false).await
}

async fn change(
    api: &Api,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    paused: bool,
) -> Result<Json<ControlState>, TextRefusal> {
    admit(api, headers)?;
    let body = text_body(body, api.body_limit_bytes)?;
    let change: ControlChange = if body.is_empty() {
        ControlChange::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| TextRefusal::bad_request(format!("the body is not `{{\"reason\"}}` as JSON: {error}")))?
    };
    let state = api.store.set_cron_paused(paused, &change.reason).await;
    let state = state.map_err(|error| TextRefusal::inside("the scheduler's state could not be changed", &error))?;
    tracing::info!(paused = state.paused, reason = state.reason, "the scheduler was told");
    Ok(Json(state))
}

fn admit(api: &Api, headers: &HeaderMap) -> Result<(), TextRefusal> {
    match api.admin.access(headers.get(header::AUTHORIZATION).map(|value| value.as_bytes())) {
        Access::Granted => Ok(()),
        Access::Refused => Err(TextRefusal::with(StatusCode::UNAUTHORIZED, "this route wants the operator's token")),
        Access::Absent => Err(TextRefusal::with(StatusCode::NOT_FOUND, "no operator's token is set")),
    }
}
