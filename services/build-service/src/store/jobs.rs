//! `build_jobs`, from the clients' side: ask for one, look at it, cancel it, try it again.

use chrono::{DateTime, Utc};
use domain::{BuildState, FunctionId, JobId};
use sqlx::{PgConnection, Row, types::Json};
use uuid::Uuid;

use super::{
    Store, StoreError,
    creations::free_key,
    rows::{self, JOB_COLUMNS, get},
};
use crate::job::{Job, Kind, NewJob};

/// What became of a request for a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// There is a new job.
    New(JobId, FunctionId),
    /// The same was asked for under the same key before.
    Before(JobId, FunctionId),
    /// Something else was asked for under this key.
    OtherRequest,
}

/// What became of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It is cancelled, now or since before.
    Yes,
    /// It had ended in this state.
    TooLate(BuildState),
    /// There is no such job.
    Unknown,
}

/// What became of a request to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// This is the job that tries it again; a second request gets the same one.
    As(JobId, FunctionId),
    /// The job has not failed, nor was it cancelled.
    NotEnded(BuildState),
    /// It was to create a function of inline code, which is asked for again by asking for it again.
    Creation,
    /// There is no such job.
    Unknown,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those in this state.
    pub state: Option<BuildState>,
    /// Those of this function.
    pub function_id: Option<FunctionId>,
    /// Those for a function of this name.
    pub name: Option<String>,
}

/// A place in the list, and how much of it to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// After this job, by when it was asked for and its id.
    pub after: Option<(DateTime<Utc>, JobId)>,
    /// At most so many.
    pub limit: i64,
}

/// What is known of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageItem {
    /// BLAKE3 of it, in hex.
    pub digest: String,
    /// Its size.
    pub bytes: u64,
    /// How many files are in it.
    pub files: u64,
    /// The size of all of them, unpacked.
    pub unpacked_bytes: u64,
    /// The size of the artifact, once there is one.
    pub artifact_bytes: Option<i64>,
}

impl Store {
    /// What was answered to this key before. A key that another request has in its hands is not known yet.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn accepted(&self, key: &str, request_digest: &str) -> Result<Option<Accepted>, StoreError> {
        accepted(&mut *self.pool.acquire().await?, key, request_digest).await
    }

    /// Inserts a job. Of two requests with one key the second waits for the first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn accept(&self, job: &NewJob, idempotency: Option<(&str, &str)>) -> Result<Accepted, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let function_id = self.insert(&mut transaction, job, None).await?;
        if let Some((key, request_digest)) = idempotency {
            // Whoever inserts the key first has it; another waits here until that one has ended.
            if !self.claim_key(&mut transaction, key, request_digest, job.id).await? {
                transaction.rollback().await?;
                let before = self.accepted(key, request_digest).await?;
                return Ok(before.unwrap_or(Accepted::OtherRequest));
            }
        }
        transaction.commit().await?;
        Ok(Accepted::New(job.id, function_id))
    }

    async fn insert(
        &self,
        connection: &mut PgConnection,
        job: &NewJob,
        retry_of: Option<JobId>,
    ) -> Result<FunctionId, StoreError> {
        let row = sqlx::query(
            "INSERT INTO function_names AS n (name, function_id, versions) VALUES ($1, $2, 1) \
             ON CONFLICT (name) DO UPDATE SET versions = n.versions + 1 RETURNING function_id, versions",
        )
        .bind(&job.settings.name)
        .bind(FunctionId::generate().as_uuid())
        .fetch_one(&mut *connection)
        .await?;
        let function_id: Uuid = get(&row, "function_id")?;
        insert_job(connection, job, retry_of, function_id, get(&row, "versions")?).await?;
        self.record(connection, job.id, None).await?;
        self.announce(connection, job.id).await?;
        Ok(FunctionId::from(function_id))
    }

    /// A job.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        let statement = format!("SELECT {JOB_COLUMNS} FROM build_jobs WHERE id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(id.as_uuid()).fetch_optional(&self.pool).await?;
        row.map(|row| rows::job(&row)).transpose()
    }

    /// What is known of a job's package.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn package(&self, id: JobId) -> Result<PackageItem, StoreError> {
        let row = sqlx::query("SELECT * FROM package_metadata WHERE job_id = $1").bind(id.as_uuid());
        let row = row.fetch_one(&self.pool).await?;
        Ok(PackageItem {
            digest: get(&row, "digest")?,
            bytes: rows::unsigned(&row, "package_bytes")?,
            files: rows::unsigned(&row, "files")?,
            unpacked_bytes: rows::unsigned(&row, "unpacked_bytes")?,
            artifact_bytes: get(&row, "artifact_bytes")?,
        })
    }

    /// Jobs, newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn jobs(&self, filter: &Filter, page: Page) -> Result<Vec<Job>, StoreError> {
        let statement = format!(
            "SELECT {JOB_COLUMNS} FROM build_jobs WHERE ($1::text IS NULL OR state = $1) \
             AND ($2::uuid IS NULL OR function_id = $2) AND ($3::text IS NULL OR name = $3) \
             AND ($4::timestamptz IS NULL OR (created_at, id) < ($4, $5)) \
             ORDER BY created_at DESC, id DESC LIMIT $6"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(filter.state.map(BuildState::as_str))
            .bind(filter.function_id.map(FunctionId::as_uuid))
            .bind(filter.name.as_deref())
            .bind(page.after.map(|(at, _)| at))
            .bind(page.after.map(|(_, id)| id.as_uuid()))
            .bind(page.limit)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(rows::job).collect()
    }

    /// Cancels a job that has not ended. A worker that builds it learns so when it next says anything.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn cancel(&self, id: JobId) -> Result<Cancelled, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let row = sqlx::query("SELECT state FROM build_jobs WHERE id = $1 FOR UPDATE").bind(id.as_uuid());
        let Some(row) = row.fetch_optional(&mut *transaction).await? else { return Ok(Cancelled::Unknown) };
        match rows::parsed(&row, "state")? {
            BuildState::Cancelled => return Ok(Cancelled::Yes),
            ended @ (BuildState::Completed | BuildState::Failed) => return Ok(Cancelled::TooLate(ended)),
            BuildState::Queued | BuildState::Building => {}
        }
        sqlx::query(
            "UPDATE build_jobs SET state = 'cancelled', sequence = sequence + 1, finished_at = now(), \
             lease_token = NULL, lease_expires_at = NULL WHERE id = $1",
        )
        .bind(id.as_uuid())
        .execute(&mut *transaction)
        .await?;
        self.record(&mut transaction, id, None).await?;
        free_key(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(Cancelled::Yes)
    }

    /// Asks for the same build again, as a new job. However often it is asked for, there is one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn retry(&self, id: JobId) -> Result<Retried, StoreError> {
        let mut transaction = self.pool.begin().await?;
        // The lock makes two requests follow each other.
        let statement = "SELECT j.*, p.* FROM build_jobs j JOIN package_metadata p ON p.job_id = j.id \
                         WHERE j.id = $1 FOR UPDATE OF j";
        let row = sqlx::query(statement).bind(id.as_uuid()).fetch_optional(&mut *transaction).await?;
        let Some(row) = row else { return Ok(Retried::Unknown) };
        let again = sqlx::query("SELECT id, function_id FROM build_jobs WHERE retry_of = $1").bind(id.as_uuid());
        if let Some(again) = again.fetch_optional(&mut *transaction).await? {
            return Ok(Retried::As(get::<Uuid>(&again, "id")?.into(), get::<Uuid>(&again, "function_id")?.into()));
        }
        if rows::kind(&row)? == Kind::Source {
            return Ok(Retried::Creation);
        }
        let state = rows::parsed(&row, "state")?;
        if !matches!(state, BuildState::Failed | BuildState::Cancelled) {
            return Ok(Retried::NotEnded(state));
        }
        let job = rows::new_job(&row, JobId::generate())?;
        let function_id = self.insert(&mut transaction, &job, Some(id)).await?;
        transaction.commit().await?;
        Ok(Retried::As(job.id, function_id))
    }
}

pub(super) async fn accepted(
    connection: &mut PgConnection,
    key: &str,
    request_digest: &str,
) -> Result<Option<Accepted>, StoreError> {
    let row = sqlx::query(
        "SELECT k.request_digest = $2 AS is_same, j.id, j.function_id FROM idempotency_keys k \
         JOIN build_jobs j ON j.id = k.job_id WHERE k.key = $1",
    )
    .bind(key)
    .bind(request_digest)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if !row.try_get::<bool, _>("is_same")? {
        return Ok(Some(Accepted::OtherRequest));
    }
    Ok(Some(Accepted::Before(get::<Uuid>(&row, "id")?.into(), get::<Uuid>(&row, "function_id")?.into())))
}

pub(super) async fn insert_job(
    connection: &mut PgConnection,
    job: &NewJob,
    retry_of: Option<JobId>,
    function_id: Uuid,
    version: i64,
) -> Result<(), StoreError> {
    let NewJob { id, settings, package, webhook, warm } = job;
    sqlx::query(
        "INSERT INTO build_jobs (id, function_id, version, kind, name, runtime, handler, timeout_seconds, memory_mb, \
         environment, webhook_url, webhook_secret, retry_of, warm, traceparent, state, sequence) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 'queued', 1)",
    )
    .bind(id.as_uuid())
    .bind(function_id)
    .bind(version)
    .bind(package.kind.as_str())
    .bind(&settings.name)
    .bind(settings.runtime.as_str())
    .bind(&settings.handler)
    .bind(i32::try_from(settings.timeout_s).expect("the contract's limit is 900"))
    .bind(i64::from(settings.memory_mb))
    .bind(Json(&settings.environment))
    .bind(webhook.as_ref().map(|webhook| &webhook.url))
    .bind(webhook.as_ref().and_then(|webhook| webhook.secret.as_ref()).map(|secret| secret.expose()))
    .bind(retry_of.map(JobId::as_uuid))
    .bind(warm)
    .bind(telemetry::current().map(|place| place.to_string()))
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO package_metadata (job_id, digest, object_key, package_bytes, files, unpacked_bytes) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id.as_uuid())
    .bind(&package.digest)
    .bind(&package.object_key)
    .bind(rows::size(package.bytes))
    .bind(rows::size(package.files))
    .bind(rows::size(package.unpacked_bytes))
    .execute(connection)
    .await?;
    Ok(())
}
