//! `cron_scheduler.state`: whether cron triggers are fired.

use chrono::{DateTime, Utc};
use domain::ControlState;
use sqlx::PgExecutor;

use super::{Store, StoreError, failed};

/// Held shared by each firing, and alone by whoever changes the state: `cron` in ASCII.
const LOCK: i64 = 0x6372_6f6e;

/// Keeps a pause waiting until this transaction ends.
pub(super) async fn lock_shared(executor: impl PgExecutor<'_>) -> Result<(), StoreError> {
    let lock = sqlx::query("select pg_advisory_xact_lock_shared($1)").bind(LOCK);
    lock.execute(executor).await.map_err(failed("waiting for a change of the scheduler"))?;
    Ok(())
}

impl Store {
    /// Whether cron triggers are fired.
    pub(crate) async fn cron_state(&self) -> Result<ControlState, StoreError> {
        let row: (bool, DateTime<Utc>, String) =
            sqlx::query_as("select paused, changed_at, reason from cron_scheduler.state")
                .fetch_one(&self.pool)
                .await
                .map_err(failed("reading the scheduler's state"))?;
        Ok(ControlState { paused: row.0, since: row.1, reason: row.2 })
    }

    /// Pauses or resumes. When this returns, every replica is in that state: no firing of before is under way.
    pub(crate) async fn set_cron_paused(&self, paused: bool, reason: &str) -> Result<ControlState, StoreError> {
        const OPERATION: &str = "changing the scheduler's state";
        let mut transaction = self.pool.begin().await.map_err(failed(OPERATION))?;
        let lock = sqlx::query("select pg_advisory_xact_lock($1)").bind(LOCK);
        lock.execute(&mut *transaction).await.map_err(failed(OPERATION))?;
        let row: (bool, DateTime<Utc>, String) = sqlx::query_as(
            "update cron_scheduler.state set changed_at = case when paused = $1 then changed_at else now() end,
                 reason = case when paused = $1 then reason else $2 end, paused = $1
             returning paused, changed_at, reason",
        )
        .bind(paused)
        .bind(super::storable(reason))
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed(OPERATION))?;
        transaction.commit().await.map_err(failed(OPERATION))?;
        Ok(ControlState { paused: row.0, since: row.1, reason: row.2 })
    }
}
