//! Functions: create, list, show, delete, invoke, and their executions.

use axum::{
    Json,
    extract::{Path, State, rejection::BytesRejection},
    http::StatusCode,
};
use bytes::Bytes;
use domain::{
    FunctionId,
    contract::{
        ContractError, CreateFunction, ExecutionList, FunctionCreated, FunctionDetail, FunctionList, InvokeResponse,
    },
};
use serde_json::value::RawValue;

use super::{
    Api,
    reply::{Refusal, contract_body},
};
use crate::{invoker::InvokeError, store::StoreError};

/// The event of a call without a body.
const EMPTY_EVENT: &[u8] = b"{}";

pub(super) async fn create(
    State(api): State<Api>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<FunctionCreated>), Refusal> {
    let body = contract_body(body, api.body_limit_bytes)?;
    let function = CreateFunction::from_json(&body)?;
    let code_key = blake3::hash(function.code.as_bytes()).to_hex();
    // The code first: a row whose code is missing could be called, code without a row cannot.
    let code = Bytes::copy_from_slice(function.code.as_bytes());
    if let Err(error) = api.objects.put(&code_key, code).await {
        return Err(Refusal::inside(ContractError::CreateFailed, &error));
    }
    let id = FunctionId::generate();
    match api.store.insert_function(id, &function, &code_key).await {
        Ok(created_at) => {
            let created = FunctionCreated {
                function_id: id,
                name: function.name,
                runtime: function.runtime.as_str().to_owned(),
                created_at,
            };
            Ok((StatusCode::CREATED, Json(created)))
        }
        Err(StoreError::Taken { .. }) => Err(Refusal(ContractError::FunctionExists(function.name))),
        Err(error) => Err(Refusal::inside(ContractError::CreateFailed, &error)),
    }
}

pub(super) async fn list(State(api): State<Api>) -> Result<Json<FunctionList>, Refusal> {
    let functions =
        api.store.newest_functions().await.map_err(|error| Refusal::inside(ContractError::ListFailed, &error))?;
    Ok(Json(FunctionList { count: functions.len(), functions }))
}

pub(super) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<FunctionDetail>, Refusal> {
    let not_found = || Refusal(ContractError::FunctionNotFound(id.clone()));
    let function_id = id.parse().map_err(|_| not_found())?;
    let function = api
        .store
        .function(function_id)
        .await
        .map_err(|error| Refusal::inside(ContractError::GetFailed, &error))?
        .ok_or_else(not_found)?;
    Ok(Json(function.into()))
}

pub(super) async fn update() -> Refusal {
    Refusal(ContractError::NotImplemented)
}

pub(super) async fn delete(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let not_found = || Refusal(ContractError::NotFound(id.clone()));
    let function_id = id.parse().map_err(|_| not_found())?;
    match api.store.delete_function(function_id).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(not_found()),
        Err(error) => Err(Refusal::inside(ContractError::DeleteFailed, &error)),
    }
}

pub(super) async fn invoke(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<InvokeResponse>, Refusal> {
    let event = event(contract_body(body, api.body_limit_bytes)?)?;
    // The contract's defect: an unknown function is answered as a failure inside.
    let function_id: FunctionId = id.parse().map_err(|_| Refusal(ContractError::GetFailed))?;
    match api.invoker.invoke(function_id, event).await {
        Ok(answer) => Ok(Json(answer)),
        Err(InvokeError::UnknownFunction(_)) => Err(Refusal(ContractError::GetFailed)),
        Err(error @ InvokeError::Store(_)) => Err(Refusal::inside(ContractError::GetFailed, &error)),
        Err(error) => Err(Refusal::inside(ContractError::InvokeFailed, &error)),
    }
}

pub(super) async fn executions(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<ExecutionList>, Refusal> {
    let executions = match id.parse() {
        Ok(function_id) => api
            .store
            .newest_executions(function_id)
            .await
            .map_err(|error| Refusal::inside(ContractError::HistoryFailed, &error))?,
        // No function has such an id, and no execution either.
        Err(_) => Vec::new(),
    };
    Ok(Json(ExecutionList { count: executions.len(), executions }))
}

/// The event that a body stands for: itself, when it is JSON.
fn event(body: Bytes) -> Result<Bytes, ContractError> {
    if body.is_empty() {
        return Ok(Bytes::from_static(EMPTY_EVENT));
    }
    match serde_json::from_slice::<&RawValue>(&body) {
        Ok(_) => Ok(body),
        Err(error) => Err(ContractError::InvalidRequest(format!("the event is not JSON: {error}"))),
    }
}
