//! Calls that are accepted now and made later: `X-Invocation-Type: Event`.

use axum::{
    Json,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use domain::{
    Event, EventId, EventType, FunctionId,
    contract::{ContractError, EventAccepted},
};
use serde_json::value::RawValue;

use super::{Api, refusal::Refusal};
use crate::{events, executor::Executor};

/// How a call is to be made: `RequestResponse`, or `Event`.
const INVOCATION_TYPE: &str = "x-invocation-type";
/// The caller's own id for an asynchronous call: an id is accepted once, however often it is sent.
const EVENT_ID: &str = "x-event-id";

/// Whether a call is to be made later.
pub fn is_wanted(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers.get(INVOCATION_TYPE).map(|value| value.as_bytes()) {
        None | Some(b"RequestResponse") => Ok(false),
        Some(b"Event") => Ok(true),
        Some(_) => {
            let text = "`X-Invocation-Type` is `RequestResponse`, which is usual, or `Event`";
            Err(ContractError::InvalidRequest(text.to_owned()).into())
        }
    }
}

/// Accepts a call; 202 with the id by which its end is audited.
pub async fn accept<E: Executor>(
    api: &Api<E>,
    id: &str,
    headers: &HeaderMap,
    payload: &Bytes,
) -> Result<Response, Refusal> {
    let unknown = || ContractError::FunctionNotFound(id.to_owned());
    let function_id: FunctionId = id.parse().map_err(|_| unknown())?;
    let limit_bytes = api.max_event_payload_bytes;
    if payload.len() as u64 > limit_bytes {
        return Err(ContractError::TooLarge { limit_bytes }.into());
    }
    let found = api.invoker.functions.find(function_id).await;
    found.map_err(|error| Refusal::store(&error, ContractError::GetFailed))?.ok_or_else(unknown)?;
    let payload: Box<RawValue> = serde_json::from_slice(payload)
        .map_err(|error| ContractError::InvalidRequest(format!("the event is not JSON: {error}")))?;
    let mut event = Event::new(EventType::Http, function_id, payload);
    event.max_retries = api.max_event_retries;
    if let Some(id) = event_id(headers)? {
        event.id = id;
    }
    events::note(&mut event);
    let event_id = event.id;
    api.intake.accept(&[event]).await.map_err(|error| Refusal::intake(&error))?;
    Ok((StatusCode::ACCEPTED, Json(EventAccepted { event_id })).into_response())
}

fn event_id(headers: &HeaderMap) -> Result<Option<EventId>, ContractError> {
    let Some(value) = headers.get(EVENT_ID) else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| ContractError::InvalidRequest("`X-Event-Id` is not a UUID".to_owned()))
}
