//! Builds: look at one, list them, cancel one, try one again.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::Response,
};
use chrono::{DateTime, Utc};
use domain::{BuildFailure, BuildState, FunctionId, JobId};
use serde::{Deserialize, Serialize};

use service::Problem;

use super::{Api, cursor, functions::queued, problem};
use crate::{
    job::Job,
    store::{Cancelled, Filter, PackageItem, Page, Retried, StatusItem},
};

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 200;

/// A build in a list. The environment is left out: it may hold secrets.
#[derive(Serialize)]
struct Summary {
    job_id: JobId,
    function_id: FunctionId,
    version: i64,
    status: BuildState,
    name: String,
    runtime: String,
    handler: String,
    timeout: u32,
    memory: u32,
    attempt: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_of: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<BuildFailure>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<DateTime<Utc>>,
}

/// A build in full.
#[derive(Serialize)]
pub struct Detail {
    #[serde(flatten)]
    summary: Summary,
    history: Vec<Transition>,
    package: Package,
}

#[derive(Serialize)]
struct Transition {
    sequence: i32,
    status: BuildState,
    attempt: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    at: DateTime<Utc>,
}

#[derive(Serialize)]
struct Package {
    digest: String,
    bytes: u64,
    files: u64,
    unpacked_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_bytes: Option<i64>,
}

/// A part of the list.
#[derive(Serialize)]
pub struct List {
    builds: Vec<Summary>,
    /// Where the next part begins; left out at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// `?status=&function_id=&name=&limit=&cursor=`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    status: Option<BuildState>,
    function_id: Option<FunctionId>,
    name: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

pub async fn list(
    State(api): State<Arc<Api>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<List>, Problem> {
    let Query(query) = query.map_err(|error| problem::parameter(error.body_text()))?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(problem::parameter(format!("`limit` must be 1 to {MAX_LIMIT}")));
    }
    let after = query.cursor.as_deref().map(|text| {
        cursor::read(text).ok_or_else(|| problem::parameter("`cursor` is not one that this service gave".to_owned()))
    });
    let filter = Filter { state: query.status, function_id: query.function_id, name: query.name };
    // One more than asked for says whether there is a next part.
    let mut jobs = api.store.jobs(&filter, Page { after: after.transpose()?, limit: limit + 1 }).await?;
    let has_more = jobs.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if has_more {
        jobs.pop();
    }
    let next_cursor = jobs.last().filter(|_| has_more).map(|job| cursor::write(job.created_at, job.id));
    Ok(Json(List { builds: jobs.into_iter().map(summary).collect(), next_cursor }))
}

pub async fn detail(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Detail>, Problem> {
    show(&api, job_id(&id)?).await
}

pub async fn cancel(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Detail>, Problem> {
    let job_id = job_id(&id)?;
    match api.store.cancel(job_id).await? {
        Cancelled::Yes => {
            api.bell.notify_waiters();
            show(&api, job_id).await
        }
        Cancelled::TooLate(state) => Err(problem::conflict(format!("the build is {state} and cannot be cancelled"))),
        Cancelled::Unknown => Err(problem::no_such_build(&id)),
    }
}

pub async fn retry(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Response, Problem> {
    match api.store.retry(job_id(&id)?).await? {
        Retried::As(job_id, function_id) => {
            api.bell.notify_waiters();
            Ok(queued(job_id, function_id))
        }
        Retried::NotEnded(state) => Err(problem::conflict(format!(
            "the build is {state}; only one that failed or was cancelled can be tried again"
        ))),
        Retried::Creation => Err(problem::conflict(
            "it was to create a function of inline code: ask for that again by POST /api/v1/functions".to_owned(),
        )),
        Retried::Unknown => Err(problem::no_such_build(&id)),
    }
}

/// What is not an id names no build.
pub fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|_| problem::no_such_build(text))
}

async fn show(api: &Api, id: JobId) -> Result<Json<Detail>, Problem> {
    let job = api.store.job(id).await?.ok_or_else(|| problem::no_such_build(&id.to_string()))?;
    let (history, package) = tokio::try_join!(api.store.history(id), api.store.package(id))?;
    Ok(Json(Detail {
        summary: summary(job),
        history: history.into_iter().map(transition).collect(),
        package: package_detail(package),
    }))
}

fn summary(job: Job) -> Summary {
    Summary {
        job_id: job.id,
        function_id: job.function_id,
        version: job.version,
        status: job.state,
        name: job.settings.name,
        runtime: job.settings.runtime.to_string(),
        handler: job.settings.handler,
        timeout: job.settings.timeout_s,
        memory: job.settings.memory_mb,
        attempt: job.attempt,
        retry_of: job.retry_of,
        webhook_url: job.webhook_url,
        artifact_digest: job.artifact_digest,
        error: job.error,
        created_at: job.created_at,
        updated_at: job.updated_at,
        finished_at: job.finished_at,
    }
}

fn transition(item: StatusItem) -> Transition {
    let StatusItem { sequence, state, attempt, message, at } = item;
    Transition { sequence, status: state, attempt, message, at }
}

fn package_detail(item: PackageItem) -> Package {
    let PackageItem { digest, bytes, files, unpacked_bytes, artifact_bytes } = item;
    Package { digest, bytes, files, unpacked_bytes, artifact_bytes }
}
