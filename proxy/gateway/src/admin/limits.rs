//! How much each limit policy allows, and to which keys something else.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    AdminState, Refused,
    asked::{Asked, Note},
    pins::checked_key,
};
use crate::{
    control::Change,
    limit::{Counts, PolicyId, Quota, Rate},
    rollout::Snapshot,
};

/// How much is to be allowed; without a burst, one second of the rate at once.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaRequest {
    rate: Rate,
    burst: Option<u32>,
    #[serde(flatten)]
    note: Note,
}

/// One policy as it is configured and as it stands.
#[derive(Debug, Serialize)]
struct PolicyView<'a> {
    name: &'a str,
    counts: Counts,
    configured: Quota,
    #[serde(flatten)]
    quota: Quota,
    overrides: Vec<OverrideView<'a>>,
}

#[derive(Debug, Serialize)]
struct OverrideView<'a> {
    key: &'a str,
    #[serde(flatten)]
    quota: Quota,
}

/// `GET /api/v1/limits`
pub(super) async fn list(State(state): State<Arc<AdminState>>) -> Json<Value> {
    let snapshot = state.control.snapshot();
    let policies = state.control.policies().iter().map(|(id, policy)| {
        let limit = snapshot.limits().get(id);
        let overrides = limit.sorted_overrides().into_iter();
        PolicyView {
            name: &policy.name,
            counts: policy.counts,
            configured: policy.quota,
            quota: limit.quota,
            overrides: overrides.map(|(key, quota)| OverrideView { key, quota }).collect(),
        }
    });
    Json(json!({ "policies": policies.collect::<Vec<_>>() }))
}

/// `PUT /api/v1/limits/{policy}`
pub(super) async fn set(
    State(state): State<Arc<AdminState>>,
    Path(policy): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let (quota, note) = quota(&asked)?;
    change(&state, policy, None, Some(quota), &note, &asked).await
}

/// `DELETE /api/v1/limits/{policy}`: back to what is configured. Overrides stay.
pub(super) async fn unset(
    State(state): State<Arc<AdminState>>,
    Path(policy): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    change(&state, policy, None, None, &asked.read_or_default()?, &asked).await
}

/// `PUT /api/v1/limits/{policy}/overrides/{key}`
pub(super) async fn set_override(
    State(state): State<Arc<AdminState>>,
    Path((policy, key)): Path<(String, String)>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let (quota, note) = quota(&asked)?;
    change(&state, policy, Some(key), Some(quota), &note, &asked).await
}

/// `DELETE /api/v1/limits/{policy}/overrides/{key}`. Without such an override nothing changes.
pub(super) async fn unset_override(
    State(state): State<Arc<AdminState>>,
    Path((policy, key)): Path<(String, String)>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    change(&state, policy, Some(key), None, &asked.read_or_default()?, &asked).await
}

fn quota(asked: &Asked) -> Result<(Quota, Note), Refused> {
    let request: QuotaRequest = asked.read()?;
    let quota = Quota::new(request.rate, request.burst)
        .map_err(|problem| Refused::new(StatusCode::BAD_REQUEST, "invalid_burst", problem.to_string()))?;
    Ok((quota, request.note))
}

async fn change(
    state: &AdminState,
    policy: String,
    key: Option<String>,
    quota: Option<Quota>,
    note: &Note,
    asked: &Asked,
) -> Result<Json<Value>, Refused> {
    let missing = || Refused::new(StatusCode::NOT_FOUND, "policy_not_found", format!("there is no policy `{policy}`"));
    let id = state.control.policies().by_name(&policy).ok_or_else(missing)?;
    key.as_deref().map_or(Ok(()), checked_key)?;
    let change = Change::Limit { policy: policy.clone(), key: key.clone(), quota };
    let changed = asked.change(state, note, change).await?;
    Ok(Json(json!({
        "policy": policy,
        "key": key,
        "from": allowed(&changed.before, id, key.as_deref()),
        "to": allowed(&changed.after, id, key.as_deref()),
        "revision": changed.revision,
        "hash": changed.hash,
    })))
}

/// What the policy allows; for a key, what it allows to that key in particular.
fn allowed(snapshot: &Snapshot, policy: PolicyId, key: Option<&str>) -> Option<Quota> {
    let limit = snapshot.limits().get(policy);
    key.map_or(Some(limit.quota), |key| limit.overrides.get(key).copied())
}
