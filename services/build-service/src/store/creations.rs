//! Functions of inline code: jobs that a master builds itself, under a lease like a worker's.
//!
//! Such a job waits for nobody: the transaction that makes it gives it to the master that serves its client.

use std::time::Duration;

use domain::{BuildFailure, FunctionId, JobId};
use sqlx::{PgConnection, postgres::PgRow};
use uuid::Uuid;

use super::{
    Store, StoreError,
    jobs::{accepted, insert_job},
    leases::{StillHeld, TAKE, interval},
    rows::{self, get},
};
use crate::{
    job::{Built, Creation, NewJob},
    store::Accepted,
};

/// What became of a request for a function.
#[derive(Debug, Clone)]
pub enum Begun {
    /// There is a new job, and whoever has this may build it.
    New(Box<Creation>),
    /// The same was asked for under the same key before, and is this job.
    Before(JobId),
    /// Something else was asked for under this key.
    OtherRequest,
}

impl Store {
    /// Inserts the job of a new function, held by `holder`. Of two requests with one key the second waits for the
    /// first one's insertion.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin_creation(
        &self,
        job: &NewJob,
        idempotency: Option<(&str, &str)>,
        holder: &str,
        lease: Duration,
    ) -> Result<Begun, StoreError> {
        let mut transaction = self.pool.begin().await?;
        // A function of its own: whether its name is free is for the service to say that has the functions.
        insert_job(&mut transaction, job, None, FunctionId::generate().as_uuid(), 1).await?;
        if let Some((key, request_digest)) = idempotency
            && !self.claim_key(&mut transaction, key, request_digest, job.id).await?
        {
            transaction.rollback().await?;
            return Ok(match accepted(&mut *self.pool.acquire().await?, key, request_digest).await? {
                Some(Accepted::New(id, _) | Accepted::Before(id, _)) => Begun::Before(id),
                Some(Accepted::OtherRequest) | None => Begun::OtherRequest,
            });
        }
        self.record(&mut transaction, job.id, None).await?;
        let statement = format!("WITH next AS (SELECT $4::uuid AS id) {TAKE}");
        let row = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(Uuid::new_v4())
            .bind(holder)
            .bind(interval(lease))
            .bind(job.id.as_uuid())
            .fetch_one(&mut *transaction)
            .await?;
        self.record(&mut transaction, job.id, None).await?;
        transaction.commit().await?;
        creation(&row).map(Begun::New)
    }

    /// Takes a creation whose master has lost its lease.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_creation(
        &self,
        holder: &str,
        lease: Duration,
        max_attempts: i32,
    ) -> Result<Option<Box<Creation>>, StoreError> {
        let statement = format!(
            "WITH next AS (SELECT id FROM build_jobs WHERE kind = 'source' AND state = 'building' \
             AND lease_expires_at <= now() AND attempt < $4 ORDER BY created_at, id LIMIT 1 \
             FOR UPDATE SKIP LOCKED) {TAKE}"
        );
        let mut transaction = self.pool.begin().await?;
        let row = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(Uuid::new_v4())
            .bind(holder)
            .bind(interval(lease))
            .bind(max_attempts)
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let taken = creation(&row)?;
        let message = "taken again: the master before did not end it in time";
        self.record(&mut transaction, taken.job.id, Some(message)).await?;
        transaction.commit().await?;
        Ok(Some(taken))
    }

    /// Ends a creation well. From now on the name means this function, unless it means a newer one already. `told` are
    /// the receivers that know of it: a second message might find the function deleted, and the mark that says so in a
    /// database that is not its owner's any more, and bring it back.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn created(&self, creation: &Creation, built: &Built, told: &[String]) -> Result<StillHeld, StoreError> {
        let mut transaction = self.pool.begin().await?;
        if self.complete_in(&mut transaction, creation.token, built).await? == StillHeld::No {
            return Ok(StillHeld::No);
        }
        sqlx::query(
            "UPDATE webhook_deliveries d SET state = 'delivered', ended_at = now() FROM build_jobs j \
             WHERE j.id = $1 AND d.job_id = j.id AND d.sequence = j.sequence AND d.receiver = ANY ($2)",
        )
        .bind(creation.job.id.as_uuid())
        .bind(told)
        .execute(&mut *transaction)
        .await?;
        // Ids are by the time of their making.
        sqlx::query(
            "INSERT INTO function_names AS n (name, function_id, versions) VALUES ($1, $2, 1) \
             ON CONFLICT (name) DO UPDATE SET function_id = excluded.function_id, versions = 1 \
             WHERE n.function_id < excluded.function_id",
        )
        .bind(&creation.job.settings.name)
        .bind(creation.job.function_id.as_uuid())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(StillHeld::Yes)
    }

    /// Ends a creation that may work another time: the client's key is free again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn withdraw(&self, creation: &Creation, failure: &BuildFailure) -> Result<StillHeld, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let held = self.fail_in(&mut transaction, creation.token, failure).await?;
        if held == StillHeld::Yes {
            free_key(&mut transaction, creation.job.id).await?;
            transaction.commit().await?;
        }
        Ok(held)
    }

    /// Whether the key is this job's now; another request that has it is waited for.
    pub(super) async fn claim_key(
        &self,
        connection: &mut PgConnection,
        key: &str,
        request_digest: &str,
        job: JobId,
    ) -> Result<bool, StoreError> {
        let inserted = sqlx::query(
            "INSERT INTO idempotency_keys (key, request_digest, job_id) VALUES ($1, $2, $3) \
             ON CONFLICT (key) DO NOTHING",
        )
        .bind(key)
        .bind(request_digest)
        .bind(job.as_uuid())
        .execute(connection)
        .await?;
        Ok(inserted.rows_affected() > 0)
    }

    /// Forgets what was answered to keys longer ago than this.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn forget_keys(&self, kept: Duration) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "DELETE FROM idempotency_keys WHERE key IN (SELECT key FROM idempotency_keys \
             WHERE created_at < now() - $1 ORDER BY created_at LIMIT 1000)",
        );
        Ok(done.bind(interval(kept)).execute(&self.pool).await?.rows_affected())
    }
}

/// Lets a key ask again whose creation came to nothing. A package keeps its key: its build can be tried again.
pub(super) async fn free_key(connection: &mut PgConnection, job: JobId) -> Result<(), StoreError> {
    let statement = "DELETE FROM idempotency_keys k USING build_jobs j \
                     WHERE k.job_id = $1 AND j.id = k.job_id AND j.kind = 'source'";
    sqlx::query(statement).bind(job.as_uuid()).execute(connection).await?;
    Ok(())
}

fn creation(row: &PgRow) -> Result<Box<Creation>, StoreError> {
    Ok(Box::new(Creation {
        token: get(row, "lease_token")?,
        job: rows::job(row)?,
        sequence: get(row, "sequence")?,
        package: rows::package(row)?,
    }))
}
