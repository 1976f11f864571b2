//! Leases: who may build a job, and until when.
//!
//! A lease is a token in the job's row. Whatever a worker says of a job is said with the token, and changes
//! nothing once another worker has taken the job, it was cancelled, or it ended. Time is the database's, so
//! that clocks of workers do not matter.

use std::time::Duration;

use domain::{BuildFailure, JobId};
use sqlx::{PgConnection, postgres::types::PgInterval};
use uuid::Uuid;

use super::{Store, StoreError, creations::free_key, rows};
use crate::job::{Built, Lease};

/// Whether a job was still its worker's when the worker spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum StillHeld {
    /// It was, and what was said is written down.
    Yes,
    /// It was not, and nothing has changed.
    No,
}

impl StillHeld {
    const fn when(changed: bool) -> Self {
        if changed { Self::Yes } else { Self::No }
    }
}

pub(super) const TAKE: &str = "UPDATE build_jobs j SET state = 'building', attempt = j.attempt + 1, sequence = j.sequence + 1, \
    lease_token = $1, lease_holder = $2, lease_expires_at = now() + $3 \
    FROM next, package_metadata p WHERE j.id = next.id AND p.job_id = j.id RETURNING j.*, p.*";

impl Store {
    /// Takes the job that waits longest, or one whose worker has lost its lease.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_any(
        &self,
        holder: &str,
        lease: Duration,
        max_attempts: i32,
    ) -> Result<Option<Lease>, StoreError> {
        let statement = format!(
            "WITH next AS (SELECT id FROM build_jobs \
             WHERE (state = 'queued' OR state = 'building' AND lease_expires_at <= now()) AND attempt < $4 \
             AND kind <> 'source' ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED) {TAKE}"
        );
        self.take(statement, holder, lease, max_attempts, None).await
    }

    /// Takes this job if it may be taken: one that another worker holds, or that has ended, may not.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_one(
        &self,
        id: JobId,
        holder: &str,
        lease: Duration,
        max_attempts: i32,
    ) -> Result<Option<Lease>, StoreError> {
        let statement = format!(
            "WITH next AS (SELECT id FROM build_jobs WHERE id = $5 \
             AND (state = 'queued' OR state = 'building' AND lease_expires_at <= now()) AND attempt < $4 \
             AND kind <> 'source' FOR UPDATE) {TAKE}"
        );
        self.take(statement, holder, lease, max_attempts, Some(id)).await
    }

    async fn take(
        &self,
        statement: String,
        holder: &str,
        lease: Duration,
        max_attempts: i32,
        only: Option<JobId>,
    ) -> Result<Option<Lease>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(Uuid::new_v4())
            .bind(holder)
            .bind(interval(lease))
            .bind(max_attempts);
        if let Some(id) = only {
            query = query.bind(id.as_uuid());
        }
        let Some(row) = query.fetch_optional(&mut *transaction).await? else { return Ok(None) };
        let taken = rows::lease(&row)?;
        let message = (taken.attempt > 1).then_some("taken again: the worker before did not end it in time");
        self.record(&mut transaction, taken.job_id, message).await?;
        transaction.commit().await?;
        Ok(Some(taken))
    }

    /// Puts the end of a lease off.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn renew(&self, token: Uuid, lease: Duration) -> Result<StillHeld, StoreError> {
        let done = sqlx::query("UPDATE build_jobs SET lease_expires_at = now() + $2 WHERE lease_token = $1")
            .bind(token)
            .bind(interval(lease))
            .execute(&self.pool)
            .await?;
        Ok(StillHeld::when(done.rows_affected() > 0))
    }

    /// Ends a lease early, so that another worker may take the job now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn give_back(&self, token: Uuid) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let row = sqlx::query("UPDATE build_jobs SET lease_expires_at = now() WHERE lease_token = $1 RETURNING id")
            .bind(token)
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(row) = row {
            self.announce(&mut transaction, JobId::from(rows::get::<Uuid>(&row, "id")?)).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Ends a build well.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn complete(&self, token: Uuid, built: &Built) -> Result<StillHeld, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let held = self.complete_in(&mut transaction, token, built).await?;
        transaction.commit().await?;
        Ok(held)
    }

    pub(super) async fn complete_in(
        &self,
        connection: &mut PgConnection,
        token: Uuid,
        built: &Built,
    ) -> Result<StillHeld, StoreError> {
        let row = sqlx::query(
            "WITH done AS (UPDATE build_jobs SET state = 'completed', artifact_digest = $2, sequence = sequence + 1, \
             finished_at = now(), lease_token = NULL, lease_expires_at = NULL \
             WHERE lease_token = $1 RETURNING id) \
             UPDATE package_metadata SET artifact_bytes = $3 FROM done WHERE job_id = done.id RETURNING job_id",
        )
        .bind(token)
        .bind(&built.digest)
        .bind(rows::size(built.bytes))
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(StillHeld::No) };
        self.record(connection, JobId::from(rows::get::<Uuid>(&row, "job_id")?), None).await?;
        Ok(StillHeld::Yes)
    }

    /// Ends a build that failed by its package's fault.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn fail(&self, token: Uuid, failure: &BuildFailure) -> Result<StillHeld, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let held = self.fail_in(&mut transaction, token, failure).await?;
        transaction.commit().await?;
        Ok(held)
    }

    pub(super) async fn fail_in(
        &self,
        connection: &mut PgConnection,
        token: Uuid,
        failure: &BuildFailure,
    ) -> Result<StillHeld, StoreError> {
        let row = sqlx::query(
            "UPDATE build_jobs SET state = 'failed', error_code = $2, error_message = $3, sequence = sequence + 1, \
             finished_at = now(), lease_token = NULL, lease_expires_at = NULL \
             WHERE lease_token = $1 RETURNING id",
        )
        .bind(token)
        .bind(&failure.code)
        .bind(&failure.message)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(StillHeld::No) };
        let id = JobId::from(rows::get::<Uuid>(&row, "id")?);
        self.record(connection, id, Some(&failure.message)).await?;
        Ok(StillHeld::Yes)
    }

    /// Fails the jobs that as many workers as may have died over; answers how many.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn abandon(&self, max_attempts: i32, failure: &BuildFailure) -> Result<usize, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let rows = sqlx::query(
            "WITH lost AS (SELECT id FROM build_jobs WHERE state = 'building' AND lease_expires_at <= now() \
             AND attempt >= $1 ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED) \
             UPDATE build_jobs j SET state = 'failed', error_code = $2, error_message = $3, \
             sequence = sequence + 1, finished_at = now(), lease_token = NULL, lease_expires_at = NULL \
             FROM lost WHERE j.id = lost.id RETURNING j.id",
        )
        .bind(max_attempts)
        .bind(&failure.code)
        .bind(&failure.message)
        .fetch_all(&mut *transaction)
        .await?;
        for row in &rows {
            let id = JobId::from(rows::get::<Uuid>(row, "id")?);
            self.record(&mut transaction, id, Some(&failure.message)).await?;
            free_key(&mut transaction, id).await?;
        }
        transaction.commit().await?;
        Ok(rows.len())
    }

    /// Tells workers that there is a job: at the commit of this transaction, or through the outbox.
    pub(super) async fn announce(&self, connection: &mut PgConnection, id: JobId) -> Result<(), StoreError> {
        let statement = if self.has_broker {
            "INSERT INTO build_outbox (job_id) VALUES ($1) ON CONFLICT (job_id) DO NOTHING"
        } else {
            "SELECT pg_notify('build_jobs', $1::text)"
        };
        sqlx::query(statement).bind(id.as_uuid()).execute(connection).await?;
        Ok(())
    }
}

pub(super) fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}
