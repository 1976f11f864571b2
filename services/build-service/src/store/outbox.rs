//! `build_outbox`: jobs that the broker shall hear of.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::JobId;
use telemetry::TraceContext;
use uuid::Uuid;

use super::{Store, StoreError, rows};

/// How many waiting jobs there are, and since when the first of them waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueState {
    /// Jobs that no worker has taken.
    pub queued: u64,
    /// Jobs that a worker holds.
    pub building: u64,
    /// How long the oldest waiting job has waited.
    pub oldest: Duration,
}

impl Store {
    /// The oldest jobs of the outbox, each with the place in a trace where it was asked for. They stay in it until
    /// [`Store::published`].
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn unpublished(&self, limit: i64) -> Result<Vec<(JobId, Option<TraceContext>)>, StoreError> {
        let rows = sqlx::query(
            "SELECT o.job_id, j.traceparent FROM build_outbox o JOIN build_jobs j ON j.id = o.job_id \
             ORDER BY o.id LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((JobId::from(rows::get::<Uuid>(row, "job_id")?), rows::trace(row)?))).collect()
    }

    /// Takes jobs out of the outbox: the broker has them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn published(&self, ids: &[JobId]) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        sqlx::query("DELETE FROM build_outbox WHERE job_id = ANY ($1)").bind(ids).execute(&self.pool).await?;
        Ok(())
    }

    /// Puts jobs back into the outbox that nobody works on: their lease has expired, or they have waited
    /// for so long that the broker may have lost them. Announcing one twice does no harm.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn announce_forgotten(&self, waited: Duration) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "WITH forgotten AS (UPDATE build_jobs SET announced_at = now() WHERE kind <> 'source' \
             AND (state = 'building' AND lease_expires_at <= now() AND announced_at < lease_expires_at \
             OR (state = 'queued' OR state = 'building' AND lease_expires_at <= now()) \
             AND announced_at <= now() - make_interval(secs => $1)) RETURNING id) \
             INSERT INTO build_outbox (job_id) SELECT id FROM forgotten ON CONFLICT (job_id) DO NOTHING",
        )
        .bind(waited.as_secs_f64())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }

    /// What waits and what is being built.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn queue_state(&self) -> Result<QueueState, StoreError> {
        let row = sqlx::query(
            "SELECT count(*) FILTER (WHERE state = 'queued') AS queued, \
             count(*) FILTER (WHERE state = 'building') AS building, \
             min(created_at) FILTER (WHERE state = 'queued') AS oldest, now() AS now \
             FROM build_jobs WHERE state IN ('queued', 'building')",
        )
        .fetch_one(&self.pool)
        .await?;
        let (oldest, now): (Option<DateTime<Utc>>, DateTime<Utc>) =
            (rows::get(&row, "oldest")?, rows::get(&row, "now")?);
        Ok(QueueState {
            queued: rows::unsigned(&row, "queued")?,
            building: rows::unsigned(&row, "building")?,
            oldest: oldest.and_then(|oldest| (now - oldest).to_std().ok()).unwrap_or_default(),
        })
    }
}
