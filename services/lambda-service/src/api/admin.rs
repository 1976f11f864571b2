//! `/admin`: pausing the schedule and the queue, for an operator or for a cutover that hands them over.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
};
use domain::{ControlChange, ControlState};
use serde::Serialize;
use service::Access;

use super::{
    Api,
    text_refusal::{TextRefusal, text_body},
};
use crate::{executor::Executor, store::Control};

/// `GET /admin/cron`: as the monolith answers.
pub async fn cron<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    headers: HeaderMap,
) -> Result<Json<ControlState>, TextRefusal> {
    admit(&api, &headers)?;
    let state = api.invoker.store.control(Control::Cron).await;
    state.map(Json).map_err(|error| TextRefusal::store(&error, "the schedule's state could not be read"))
}

/// The queue.
#[derive(Serialize)]
pub struct EventsState {
    #[serde(flatten)]
    control: ControlState,
    /// Events that nobody works on.
    waiting: u64,
    /// Events that somebody works on; with those that wait it is 0 when the queue is drained.
    in_flight: u64,
    /// How long the oldest of them has been there.
    oldest_seconds: f64,
}

/// `GET /admin/events`.
pub async fn events<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    headers: HeaderMap,
) -> Result<Json<EventsState>, TextRefusal> {
    admit(&api, &headers)?;
    let failed = |error| TextRefusal::store(&error, "the queue's state could not be read");
    let control = api.invoker.store.control(Control::Events).await.map_err(failed)?;
    let depth = api.invoker.store.event_queue_depth().await.map_err(failed)?;
    let oldest_seconds = depth.oldest.as_secs_f64();
    Ok(Json(EventsState { control, waiting: depth.waiting, in_flight: depth.in_flight, oldest_seconds }))
}

/// `POST /admin/{cron,events}/{pause,resume}`: answered when it holds for every replica.
pub async fn change<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path((what, verb)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ControlState>, TextRefusal> {
    admit(&api, &headers)?;
    let (control, paused) = match (what.as_str(), verb.as_str()) {
        ("cron", "pause") => (Control::Cron, true),
        ("cron", "resume") => (Control::Cron, false),
        ("events", "pause") => (Control::Events, true),
        ("events", "resume") => (Control::Events, false),
        _ => return Err(TextRefusal::with(StatusCode::NOT_FOUND, "there is no such route")),
    };
    let body = text_body(body, api.body_limit_bytes)?;
    let change: ControlChange = if body.is_empty() {
        ControlChange::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| TextRefusal::bad_request(format!("the body is not `{{\"reason\"}}` as JSON: {error}")))?
    };
    let state = api.invoker.store.set_paused(control, paused, &change.reason).await;
    let state = state.map_err(|error| TextRefusal::store(&error, "the state could not be changed"))?;
    tracing::info!(?control, paused = state.paused, reason = state.reason, "paused or resumed");
    Ok(Json(state))
}

fn admit<E: Executor>(api: &Api<E>, headers: &HeaderMap) -> Result<(), TextRefusal> {
    match api.admin.access(headers.get(header::AUTHORIZATION).map(|value| value.as_bytes())) {
        Access::Granted => Ok(()),
        Access::Refused => Err(TextRefusal::with(StatusCode::UNAUTHORIZED, "this route wants the operator's token")),
        Access::Absent => Err(TextRefusal::with(StatusCode::NOT_FOUND, "no operator's token is set")),
    }
}
