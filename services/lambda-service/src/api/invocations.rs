//! Invocations: run one, list those that ran.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use domain::contract::{ContractError, ExecutionList, InvokeResponse};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Api, async_calls,
    dry_runs::{self, IsDryRun},
    refusal::{self, Refusal},
};
use crate::executor::Executor;

const EMPTY_EVENT: &[u8] = b"{}";

pub async fn invoke<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
    dry: Option<Extension<IsDryRun>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body = refusal::body(body, api.body_limit_bytes)?;
    let event = if body.is_empty() { Bytes::from_static(EMPTY_EVENT) } else { body };
    // Looked at, not taken apart: the function gets the bytes as they came.
    serde_json::from_slice::<IgnoredAny>(&event)
        .map_err(|error| ContractError::InvalidRequest(format!("the event is not JSON: {error}")))?;
    call(&api, id, event, &headers, dry.is_some()).await
}

/// Makes a call, or accepts it to be made later.
async fn call<E: Executor>(
    api: &Api<E>,
    id: String,
    event: Bytes,
    headers: &HeaderMap,
    dry: bool,
) -> Result<Response, Refusal> {
    match (async_calls::is_wanted(headers)?, dry) {
        (false, _) => run(api, id, event, dry).await.map(IntoResponse::into_response),
        (true, false) => async_calls::accept(api, &id, headers, &event).await,
        // What is made later leaves a trace in any case.
        (true, true) => Ok(dry_runs::not_supported()),
    }
}

/// The body of `POST /invoke`.
#[derive(Deserialize)]
struct NamedInvocation<'a> {
    function_id: String,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// `POST /invoke`: the function is named in the body.
pub async fn invoke_named<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    dry: Option<Extension<IsDryRun>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body = refusal::body(body, api.body_limit_bytes)?;
    let named: NamedInvocation<'_> = serde_json::from_slice(&body).map_err(|error| {
        ContractError::InvalidRequest(format!("the body is not `{{\"function_id\", \"payload\"}}` as JSON: {error}"))
    })?;
    let event =
        named.payload.map_or(Bytes::from_static(EMPTY_EVENT), |payload| body.slice_ref(payload.get().as_bytes()));
    call(&api, named.function_id.clone(), event, &headers, dry.is_some()).await
}

#[tracing::instrument(name = "invoke", skip_all, fields(function_id = %id, execution_id))]
async fn run<E: Executor>(api: &Api<E>, id: String, event: Bytes, dry: bool) -> Result<Json<InvokeResponse>, Refusal> {
    let Ok(function_id) = id.parse() else { return Err(ContractError::FunctionNotFound(id).into()) };
    let answered = match &api.dry_runs {
        Some(dry_runs) if dry => dry_runs.invoke(function_id, event).await,
        _ => api.invoker.invoke(function_id, event).await,
    };
    answered.map(Json).map_err(|error| Refusal::invoke(&error, &id))
}

/// The newest executions. What this instance has recorded is written first, so that a caller sees
/// the executions it was answered. An unknown function has none.
pub async fn history<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
) -> Result<Json<ExecutionList>, Refusal> {
    let executions = match id.parse() {
        Ok(function_id) => {
            api.invoker.recorder.flush(api.flush_timeout).await.map_err(Refusal::record)?;
            let listed = api.invoker.store.list_executions(function_id).await;
            listed.map_err(|error| Refusal::store(&error, ContractError::HistoryFailed))?
        }
        Err(_) => Vec::new(),
    };
    Ok(Json(ExecutionList { count: executions.len(), executions }))
}
