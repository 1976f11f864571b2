//! Functions: create, list, read, delete.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, SubsecRound, Utc};
use domain::{
    FunctionId,
    contract::{ContractError, CreateFunction, FunctionCreated, FunctionDetail, FunctionList},
};
use serde::Deserialize;

use super::{
    Api,
    refusal::{self, Refusal},
};
use crate::{executor::Executor, function::Function};

pub async fn create<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<FunctionCreated>), Refusal> {
    let body = refusal::body(body, api.body_limit_bytes)?;
    let wanted = CreateFunction::from_json(&body)?;
    // The object first: a row must never name code that is not there. When the row is refused, the
    // object stays, named by nobody and no obstacle to anybody.
    let code_key =
        api.code.put(&wanted.code).await.map_err(|error| Refusal::code(&error, ContractError::CreateFailed))?;
    // PostgreSQL keeps microseconds; the answer must not know more than the row.
    let function = new_function(wanted, code_key, Utc::now().trunc_subsecs(6));
    api.invoker
        .store
        .insert_function(&function)
        .await
        .map_err(|error| Refusal::store(&error, ContractError::CreateFailed))?;
    tracing::info!(function_id = %function.id, name = function.name, runtime = %function.runtime, "function created");
    Ok((StatusCode::CREATED, Json(function.summary())))
}

fn new_function(wanted: CreateFunction, code_key: String, now: DateTime<Utc>) -> Function {
    Function {
        id: FunctionId::generate(),
        name: wanted.name,
        runtime: wanted.runtime.into(),
        handler: wanted.handler,
        code_key,
        timeout_s: i32::try_from(wanted.timeout_s).expect("the contract's limit is 900"),
        memory_mb: i64::from(wanted.memory_mb),
        environment: wanted.environment,
        created_at: now,
        updated_at: now,
    }
}

pub async fn list<E: Executor>(State(api): State<Arc<Api<E>>>) -> Result<Json<FunctionList>, Refusal> {
    let functions: Vec<_> = listed(&api).await?.iter().map(Function::summary).collect();
    Ok(Json(FunctionList { count: functions.len(), functions }))
}

async fn listed<E: Executor>(api: &Api<E>) -> Result<Vec<Function>, Refusal> {
    let listed = api.invoker.store.list_functions().await;
    listed.map_err(|error| Refusal::store(&error, ContractError::ListFailed))
}

pub async fn detail<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
) -> Result<Json<FunctionDetail>, Refusal> {
    one(&api, id).await
}

async fn one<E: Executor>(api: &Api<E>, id: String) -> Result<Json<FunctionDetail>, Refusal> {
    // What is not an id names no function.
    let Ok(function_id) = id.parse() else { return Err(ContractError::FunctionNotFound(id).into()) };
    let found = api.invoker.store.function(function_id).await;
    match found.map_err(|error| Refusal::store(&error, ContractError::GetFailed))? {
        Some(function) => Ok(Json(function.detail())),
        None => Err(ContractError::FunctionNotFound(id).into()),
    }
}

#[derive(Deserialize)]
pub struct Filter {
    id: Option<String>,
}

/// `GET /functions`: an array; with `?id=`, that function.
pub async fn array_or_one<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(filter) = filter.map_err(|error| ContractError::InvalidRequest(error.body_text()))?;
    if let Some(id) = filter.id {
        return one(&api, id).await.map(IntoResponse::into_response);
    }
    let functions: Vec<_> = listed(&api).await?.iter().map(Function::detail).collect();
    Ok(Json(functions).into_response())
}

pub async fn change() -> Refusal {
    ContractError::NotImplemented.into()
}

pub async fn delete<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let Ok(function_id) = id.parse() else { return Err(ContractError::NotFound(id).into()) };
    let deleted = api.invoker.functions.delete(function_id).await;
    if !deleted.map_err(|error| Refusal::store(&error, ContractError::DeleteFailed))? {
        return Err(ContractError::NotFound(id).into());
    }
    stop_workers(&api, function_id);
    tracing::info!(%function_id, "function deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// None of a deleted function's workers takes another call.
pub fn stop_workers<E: Executor>(api: &Api<E>, function_id: FunctionId) {
    api.invoker.pool.evict(function_id);
    if let Some(dry_runs) = &api.dry_runs {
        dry_runs.pool.evict(function_id);
    }
}
