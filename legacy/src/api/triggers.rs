//! Cron triggers.

use axum::{
    Json,
    extract::{Path, State, rejection::BytesRejection},
    http::StatusCode,
};
use bytes::Bytes;
use chrono::Utc;
use domain::{FunctionId, TriggerId, contract::TriggerItem};
use schedule::Schedule;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Api,
    reply::{TextRefusal, text_body},
};
use crate::store::{NewTrigger, StoreError};

/// `null` counts as missing, and unknown fields are ignored, as on the function routes.
#[derive(Deserialize)]
struct Body {
    name: Option<String>,
    cron_expression: Option<String>,
    timezone: Option<String>,
    enabled: Option<bool>,
}

pub(super) async fn create(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), TextRefusal> {
    let body = text_body(body, api.body_limit_bytes)?;
    let body: Body = serde_json::from_slice(&body)
        .map_err(|error| TextRefusal::bad_request(format!("the body is not a cron trigger as JSON: {error}")))?;
    let function_id: FunctionId = id.parse().map_err(|_| unknown_function(&id))?;
    let cron_expression = body.cron_expression.unwrap_or_default();
    let timezone = body.timezone.filter(|zone| !zone.is_empty()).unwrap_or_else(|| "UTC".to_owned());
    let schedule =
        Schedule::parse(&cron_expression, &timezone).map_err(|error| TextRefusal::failed(error.to_string()))?;
    let trigger = NewTrigger {
        function_id,
        name: body.name.as_deref().unwrap_or_default(),
        cron_expression: &cron_expression,
        timezone: &timezone,
        enabled: body.enabled.unwrap_or(true),
        next_run_at: schedule.next_after(Utc::now()),
    };
    match api.store.insert_trigger(&trigger).await {
        // The quirk: the answer speaks of a webhook.
        Ok(_) => Ok((StatusCode::ACCEPTED, Json(json!({"status": "webhook received"})))),
        Err(StoreError::NoSuchFunction { .. }) => Err(unknown_function(&id)),
        Err(error) => Err(TextRefusal::inside("the cron trigger could not be created", &error)),
    }
}

/// `null` when the function has none (or does not exist).
pub(super) async fn list(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Option<Vec<TriggerItem>>>, TextRefusal> {
    let Ok(function_id) = id.parse() else { return Ok(Json(None)) };
    let triggers = api
        .store
        .triggers_of(function_id)
        .await
        .map_err(|error| TextRefusal::inside("the cron triggers could not be listed", &error))?;
    Ok(Json(Some(triggers).filter(|triggers| !triggers.is_empty())))
}

pub(super) async fn delete(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, TextRefusal> {
    let unknown = || TextRefusal::failed(format!("no cron trigger has the id `{id}`"));
    let trigger_id: TriggerId = id.parse().map_err(|_| unknown())?;
    match api.store.delete_trigger(trigger_id).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(unknown()),
        Err(error) => Err(TextRefusal::inside("the cron trigger could not be deleted", &error)),
    }
}

fn unknown_function(id: &str) -> TextRefusal {
    TextRefusal::failed(format!("no function has the id `{id}`"))
}
