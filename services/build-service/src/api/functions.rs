//! `POST /functions`: a package becomes a job.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{FunctionId, JobId};
use serde_json::json;

use service::Problem;

use super::{Api, problem};
use crate::{metrics, store::Accepted};

/// The header of a client that may send its request twice.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest key, in bytes.
const KEY_BYTES: usize = 255;

pub async fn create(State(api): State<Arc<Api>>, request: Request<Body>) -> Result<Response, Problem> {
    let key = idempotency_key(request.headers()).map_err(problem::parameter)?;
    let checked = api.intake.check(request).await.inspect_err(metrics::refused)?;
    let digest = checked.request_digest.clone();
    if let Some(key) = &key
        && let Some(before) = api.store.accepted(key, &digest).await?
    {
        return answer(before);
    }
    let job = api.intake.store(checked).await?;
    let idempotency = key.as_deref().map(|key| (key, digest.as_str()));
    let accepted = api.store.accept(&job, idempotency).await?;
    if let Accepted::New(job_id, function_id) = accepted {
        api.bell.notify_waiters();
        metrics::accepted(job.package.bytes);
        tracing::info!(%job_id, %function_id, name = job.settings.name, bytes = job.package.bytes, "build accepted");
    }
    answer(accepted)
}

fn answer(accepted: Accepted) -> Result<Response, Problem> {
    match accepted {
        Accepted::New(job_id, function_id) | Accepted::Before(job_id, function_id) => Ok(queued(job_id, function_id)),
        Accepted::OtherRequest => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "The key belongs to another request",
            "something else was asked for under this Idempotency-Key; use a key of its own for each request",
        )),
    }
}

/// What became of the job since is not here, so that the same request has the same answer.
pub fn queued(job_id: JobId, function_id: FunctionId) -> Response {
    let body = json!({"job_id": job_id, "function_id": function_id, "status": "queued"});
    (StatusCode::ACCEPTED, [(header::LOCATION, format!("/builds/{job_id}"))], Json(body)).into_response()
}

/// The key of a request, or what is wrong with it.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, String> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=KEY_BYTES).contains(&key.len()) && values.next().is_none() => Ok(Some(key.to_owned())),
        _ => Err(format!("Idempotency-Key must be one value of 1 to {KEY_BYTES} printable ASCII characters")),
    }
}
