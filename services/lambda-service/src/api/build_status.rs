//! `POST /webhooks/build-status/{job_id}`: the build service tells of its builds, and a build that is completed
//! becomes a function.
//!
//! Messages come at least once and in any order. Each names the function's build by a version that only grows:
//! the highest that was seen is the function, and whatever comes later or again with a lower one is thanked for
//! and changes nothing.
//!
//! The build service also registers functions while their clients wait, before it knows the end of the build itself.
//! So a first build that fails takes its function back.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use domain::{BuildEvent, BuildReport, BuildState, contract::ContractError};
use service::Problem;
use standardwebhooks::{HEADER_WEBHOOK_TIMESTAMP, Webhook};

use super::{
    Api,
    refusal::{self, Refusal},
};
use crate::{
    executor::Executor,
    function::Function,
    store::{Registered, Registration},
};

/// The version of a function's first build.
const FIRST: i64 = 1;

pub async fn receive<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(job_id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body = refusal::body(body, api.body_limit_bytes)?;
    let Some(builds) = &api.builds else {
        return Err(ContractError::NotFound(job_id).into());
    };
    if !is_signed(builds, &body, &headers) {
        let detail = "the message is not signed by the build service, or not in these minutes";
        let refused = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized", detail);
        return Ok(refused.into_response());
    }
    let event: BuildEvent = serde_json::from_slice(&body)
        .map_err(|error| ContractError::InvalidRequest(format!("the body is not an event of a build: {error}")))?;
    if event.data.job_id.to_string() != job_id {
        return Err(ContractError::InvalidRequest("the path and the body name different builds".to_owned()).into());
    }
    match event.data.status {
        BuildState::Completed => register(&api, event.data).await?,
        BuildState::Failed | BuildState::Cancelled if event.data.version == FIRST => withdraw(&api, event.data).await?,
        _ => {}
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Of any later one, the function is what an earlier one made of it.
async fn withdraw<E: Executor>(api: &Api<E>, report: BuildReport) -> Result<(), Refusal> {
    let (function_id, job_id) = (report.function_id, report.job_id);
    let withdrawn = api.invoker.functions.withdraw(function_id, job_id).await;
    if withdrawn.map_err(|error| Refusal::store(&error, ContractError::DeleteFailed))? {
        super::functions::stop_workers(api, function_id);
        tracing::info!(%function_id, %job_id, "function withdrawn: its build came to nothing");
    }
    Ok(())
}

async fn register<E: Executor>(api: &Api<E>, report: BuildReport) -> Result<(), Refusal> {
    let incomplete =
        || ContractError::InvalidRequest("a completed build comes with its function and its artifact".to_owned());
    let (Some(built), Some(code_key)) = (report.function, report.artifact_key) else {
        return Err(incomplete().into());
    };
    let warm = built.warm;
    let function = Function {
        id: report.function_id,
        name: built.name,
        runtime: built.runtime,
        handler: built.handler,
        code_key,
        timeout_s: i32::try_from(built.timeout).map_err(|_| incomplete())?,
        memory_mb: i64::from(built.memory),
        environment: built.environment,
        created_at: built.created_at,
        updated_at: built.created_at,
    };
    let registration = Registration { version: report.version, job_id: report.job_id };
    let registered = api.invoker.functions.register(&function, registration).await;
    match registered.map_err(|error| Refusal::store(&error, ContractError::CreateFailed))? {
        Registered::Now => {
            tracing::info!(
                function_id = %function.id, job_id = %report.job_id, version = report.version, name = function.name,
                "function registered"
            );
            if warm {
                api.invoker.pool.warm(Arc::new(function));
            }
        }
        Registered::Before => tracing::debug!(function_id = %function.id, job_id = %report.job_id, "known already"),
    }
    Ok(())
}

/// Whether the message is the build service's, and of these minutes.
fn is_signed(builds: &Webhook, body: &[u8], headers: &HeaderMap) -> bool {
    // The library subtracts it from the time: one that no clock shows must not get there.
    let timestamp = headers.get(HEADER_WEBHOOK_TIMESTAMP).and_then(|value| value.to_str().ok());
    let is_time = timestamp.and_then(|text| text.parse::<i64>().ok()).is_some_and(|time| (0..1 << 40).contains(&time));
    is_time && builds.verify(body, headers).is_ok()
}
