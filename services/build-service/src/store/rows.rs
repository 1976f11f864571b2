//! From rows to what the service knows.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use domain::{BuildFailure, FunctionId, JobId, contract::FunctionSettings};
use layered_config::Secret;
use sqlx::{Row, postgres::PgRow, types::Json};
use telemetry::TraceContext;
use uuid::Uuid;

use super::StoreError;
use crate::job::{ClientWebhook, Job, Kind, Lease, NewJob, Package};

/// The columns that [`job`] reads.
pub(super) const JOB_COLUMNS: &str = "id, function_id, version, name, runtime, handler, timeout_seconds, memory_mb, \
    environment, webhook_url, warm, retry_of, state, attempt, artifact_digest, error_code, error_message, created_at, \
    updated_at, finished_at";

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unreadable(Box::new(error))
}

/// A column that the schema guarantees to be of this type.
pub(super) fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(unreadable)
}

/// A column of text that stands for something.
pub(super) fn parsed<T>(row: &PgRow, column: &str) -> Result<T, StoreError>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    get::<&str>(row, column)?.parse().map_err(unreadable)
}

/// A number that the schema keeps from being negative.
pub(super) fn unsigned<T: TryFrom<i64>>(row: &PgRow, column: &str) -> Result<T, StoreError>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    T::try_from(get::<i64>(row, column)?).map_err(unreadable)
}

pub(super) fn job(row: &PgRow) -> Result<Job, StoreError> {
    let error: Option<String> = get(row, "error_code")?;
    let message: Option<String> = get(row, "error_message")?;
    Ok(Job {
        id: JobId::from(get::<Uuid>(row, "id")?),
        function_id: FunctionId::from(get::<Uuid>(row, "function_id")?),
        version: get(row, "version")?,
        settings: settings(row)?,
        webhook_url: get(row, "webhook_url")?,
        warm: get(row, "warm")?,
        retry_of: get::<Option<Uuid>>(row, "retry_of")?.map(JobId::from),
        state: parsed(row, "state")?,
        attempt: get(row, "attempt")?,
        artifact_digest: get(row, "artifact_digest")?,
        error: error.zip(message).map(|(code, message)| BuildFailure { code, message }),
        created_at: get(row, "created_at")?,
        updated_at: get(row, "updated_at")?,
        finished_at: get(row, "finished_at")?,
    })
}

pub(super) fn settings(row: &PgRow) -> Result<FunctionSettings, StoreError> {
    let Json(environment): Json<BTreeMap<String, String>> = get(row, "environment")?;
    Ok(FunctionSettings {
        name: get(row, "name")?,
        runtime: parsed(row, "runtime")?,
        handler: get(row, "handler")?,
        timeout_s: u32::try_from(get::<i32>(row, "timeout_seconds")?).map_err(unreadable)?,
        memory_mb: unsigned(row, "memory_mb")?,
        environment,
    })
}

pub(super) fn kind(row: &PgRow) -> Result<Kind, StoreError> {
    let word: &str = get(row, "kind")?;
    let known = [Kind::Image, Kind::Source].into_iter().find(|kind| kind.as_str() == word);
    Ok(known.unwrap_or(Kind::Archive))
}

pub(super) fn package(row: &PgRow) -> Result<Package, StoreError> {
    Ok(Package {
        kind: kind(row)?,
        digest: get(row, "digest")?,
        object_key: get(row, "object_key")?,
        bytes: unsigned(row, "package_bytes")?,
        files: unsigned(row, "files")?,
        unpacked_bytes: unsigned(row, "unpacked_bytes")?,
    })
}

/// Where in a trace a job was asked for.
pub(super) fn trace(row: &PgRow) -> Result<Option<TraceContext>, StoreError> {
    Ok(get::<Option<&str>>(row, "traceparent")?.and_then(TraceContext::parse))
}

/// A job that was just taken, joined with its package.
pub(super) fn lease(row: &PgRow) -> Result<Lease, StoreError> {
    let created_at: DateTime<Utc> = get(row, "created_at")?;
    let taken_at: DateTime<Utc> = get(row, "updated_at")?;
    Ok(Lease {
        token: get(row, "lease_token")?,
        job_id: JobId::from(get::<Uuid>(row, "id")?),
        attempt: get(row, "attempt")?,
        settings: settings(row)?,
        package: package(row)?,
        trace: trace(row)?,
        waited: (taken_at - created_at).to_std().unwrap_or(Duration::ZERO),
    })
}

/// The same build under another id, from a job joined with its package.
pub(super) fn new_job(row: &PgRow, id: JobId) -> Result<NewJob, StoreError> {
    let secret: Option<String> = get(row, "webhook_secret")?;
    let url: Option<String> = get(row, "webhook_url")?;
    let webhook = url.map(|url| ClientWebhook { url, secret: secret.map(Secret::new) });
    Ok(NewJob { id, settings: settings(row)?, package: package(row)?, webhook, warm: get(row, "warm")? })
}

/// A size for a `bigint` column; no package comes near its end.
pub(super) fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
