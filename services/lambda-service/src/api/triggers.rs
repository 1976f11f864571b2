//! Cron triggers: the routes of the contract, and those that show and change one.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::StatusCode,
};
use chrono::Utc;
use domain::{FunctionId, TriggerId, contract::TriggerItem};
use schedule::{MissedRuns, Schedule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Api,
    text_refusal::{TextRefusal, text_body},
};
use crate::{
    executor::Executor,
    store::{NewTrigger, StoreError, TriggerChange},
};

/// `null` counts as missing, and unknown fields are ignored, as on the function routes.
#[derive(Deserialize)]
struct NewBody {
    name: Option<String>,
    cron_expression: Option<String>,
    timezone: Option<String>,
    enabled: Option<bool>,
    /// Not of the monolith's contract, which ignores it.
    missed_runs: Option<String>,
}

pub async fn create<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), TextRefusal> {
    let body = text_body(body, api.body_limit_bytes)?;
    let body: NewBody = serde_json::from_slice(&body)
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
        missed_runs: body.missed_runs.as_deref().map(policy).transpose()?,
    };
    match api.invoker.store.insert_trigger(&trigger).await {
        // The quirk: the answer speaks of a webhook.
        Ok(_) => Ok((StatusCode::ACCEPTED, Json(json!({"status": "webhook received"})))),
        Err(StoreError::NoSuchFunction) => Err(unknown_function(&id)),
        Err(error) => Err(TextRefusal::store(&error, "the cron trigger could not be created")),
    }
}

/// `null` when the function has none (or does not exist).
pub async fn list<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
) -> Result<Json<Option<Vec<TriggerItem>>>, TextRefusal> {
    let Ok(function_id) = id.parse() else { return Ok(Json(None)) };
    let triggers = api.invoker.store.triggers_of(function_id).await;
    let triggers = triggers.map_err(|error| TextRefusal::store(&error, "the cron triggers could not be listed"))?;
    Ok(Json(Some(triggers).filter(|triggers| !triggers.is_empty())))
}

pub async fn delete<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
) -> Result<StatusCode, TextRefusal> {
    let unknown = || TextRefusal::failed(no_trigger(&id));
    let trigger_id: TriggerId = id.parse().map_err(|_| unknown())?;
    match api.invoker.store.delete_trigger(trigger_id).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(unknown()),
        Err(error) => Err(TextRefusal::store(&error, "the cron trigger could not be deleted")),
    }
}

/// A trigger with what the contract has no field for.
#[derive(Serialize)]
pub struct ShownTrigger {
    #[serde(flatten)]
    trigger: TriggerItem,
    /// Its own policy for missed runs, or `null` for the service's.
    missed_runs: Option<String>,
}

impl From<(TriggerItem, Option<MissedRuns>)> for ShownTrigger {
    fn from((trigger, policy): (TriggerItem, Option<MissedRuns>)) -> Self {
        Self { trigger, missed_runs: policy.map(|policy| policy.to_string()) }
    }
}

/// `GET /triggers/cron/{id}`.
pub async fn show<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
) -> Result<Json<ShownTrigger>, TextRefusal> {
    found(&api, &id).await.map(|found| Json(found.into()))
}

/// What may be changed. A field that is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    enabled: Option<bool>,
    /// `null`: as the service's settings say.
    #[serde(default, with = "given")]
    missed_runs: Option<Option<String>>,
}

/// Tells `null` from a field that is left out.
mod given {
    use serde::{Deserialize, Deserializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
}

/// `PATCH /triggers/cron/{id}`: pauses and resumes one trigger, and sets what becomes of its missed runs. One that is
/// resumed fires next when it is next due: what fell into its pause was not missed.
pub async fn change<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ShownTrigger>, TextRefusal> {
    let body = text_body(body, api.body_limit_bytes)?;
    let wanted: Change = serde_json::from_slice(&body)
        .map_err(|error| TextRefusal::bad_request(format!("the body is not a change of a trigger as JSON: {error}")))?;
    let (trigger, _) = found(&api, &id).await?;
    let enabled = match wanted.enabled.filter(|enabled| *enabled != trigger.enabled) {
        None => None,
        Some(false) => Some((false, trigger.next_run_at)),
        Some(true) => {
            let schedule = Schedule::parse(&trigger.cron_expression, &trigger.timezone);
            let schedule = schedule.map_err(|error| TextRefusal::failed(error.to_string()))?;
            Some((true, schedule.next_after(Utc::now())))
        }
    };
    let missed_runs = match wanted.missed_runs {
        None => None,
        Some(text) => Some(text.as_deref().map(policy).transpose()?),
    };
    let changed = api.invoker.store.change_trigger(trigger.id, TriggerChange { enabled, missed_runs }).await;
    let changed = changed.map_err(|error| TextRefusal::store(&error, "the cron trigger could not be changed"))?;
    changed.map(|changed| Json(changed.into())).ok_or_else(|| TextRefusal::with(StatusCode::NOT_FOUND, no_trigger(&id)))
}

async fn found<E: Executor>(api: &Api<E>, id: &str) -> Result<(TriggerItem, Option<MissedRuns>), TextRefusal> {
    let unknown = || TextRefusal::with(StatusCode::NOT_FOUND, no_trigger(id));
    let trigger_id: TriggerId = id.parse().map_err(|_| unknown())?;
    let found = api.invoker.store.trigger(trigger_id).await;
    found.map_err(|error| TextRefusal::store(&error, "the cron trigger could not be read"))?.ok_or_else(unknown)
}

fn policy(text: &str) -> Result<MissedRuns, TextRefusal> {
    text.parse().map_err(|error: schedule::InvalidPolicy| TextRefusal::bad_request(format!("`missed_runs`: {error}")))
}

fn unknown_function(id: &str) -> TextRefusal {
    TextRefusal::failed(format!("no function has the id `{id}`"))
}

fn no_trigger(id: &str) -> String {
    format!("no cron trigger has the id `{id}`")
}
