//! `controls`: what an operator, or a cutover, has paused.

use chrono::{DateTime, Utc};
use domain::ControlState;
use sqlx::PgConnection;

use super::{Store, StoreError, storable};

/// What can be paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Firing cron triggers.
    Cron,
    /// Taking events from the queue. They are accepted all the same.
    Events,
}

impl Control {
    const fn name(self) -> &'static str {
        match self {
            Self::Cron => "cron",
            Self::Events => "events",
        }
    }

    /// An advisory lock's key: this service's own, beside the monolith's in the shared stage.
    const fn lock(self) -> i64 {
        const OURS: i64 = 0x006c_616d_6264_6100;
        match self {
            Self::Cron => OURS + 1,
            Self::Events => OURS + 2,
        }
    }
}

/// Keeps a change of the control waiting until this transaction ends.
pub(super) async fn lock_shared(connection: &mut PgConnection, control: Control) -> Result<(), StoreError> {
    let lock = sqlx::query("SELECT pg_advisory_xact_lock_shared($1)").bind(control.lock());
    lock.execute(connection).await.map(drop).map_err(StoreError::from_sqlx)
}

pub(super) async fn is_paused(connection: &mut PgConnection, control: Control) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM controls WHERE name = $1 AND paused)")
        .bind(control.name())
        .fetch_one(connection)
        .await
        .map_err(StoreError::from_sqlx)
}

impl Store {
    /// Whether it is paused; one that nobody has ever changed is not, since the epoch.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn control(&self, control: Control) -> Result<ControlState, StoreError> {
        let row: Option<(bool, DateTime<Utc>, String)> =
            sqlx::query_as("SELECT paused, changed_at, reason FROM controls WHERE name = $1")
                .bind(control.name())
                .fetch_optional(&self.pool)
                .await
                .map_err(StoreError::from_sqlx)?;
        let (paused, since, reason) = row.unwrap_or((false, DateTime::UNIX_EPOCH, String::new()));
        Ok(ControlState { paused, since, reason })
    }

    /// Pauses or resumes. When this returns, every replica is in that state: no firing of before is under way.
    /// (Events that were taken before go on; how many they are is [`Store::event_queue_depth`]'s to say.)
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_paused(&self, control: Control, paused: bool, reason: &str) -> Result<ControlState, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(StoreError::from_sqlx)?;
        let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(control.lock());
        lock.execute(&mut *transaction).await.map_err(StoreError::from_sqlx)?;
        let (paused, since, reason): (bool, DateTime<Utc>, String) = sqlx::query_as(
            "INSERT INTO controls AS c (name, paused, reason) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE SET \
             changed_at = CASE WHEN c.paused = $2 THEN c.changed_at ELSE now() END, \
             reason = CASE WHEN c.paused = $2 THEN c.reason ELSE $3 END, paused = $2 \
             RETURNING paused, changed_at, reason",
        )
        .bind(control.name())
        .bind(paused)
        .bind(storable(reason))
        .fetch_one(&mut *transaction)
        .await
        .map_err(StoreError::from_sqlx)?;
        if control == Control::Events && !paused {
            // What a broker announced meanwhile was heard by nobody.
            sqlx::query("UPDATE event_queue SET announced_at = NULL WHERE announced_at IS NOT NULL")
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::from_sqlx)?;
        }
        transaction.commit().await.map_err(StoreError::from_sqlx)?;
        Ok(ControlState { paused, since, reason })
    }

    /// Pauses what nobody has ever paused or resumed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn pause_from_the_start(&self, control: Control, reason: &str) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO controls (name, paused, reason) VALUES ($1, true, $2) ON CONFLICT DO NOTHING")
            .bind(control.name())
            .bind(reason)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(StoreError::from_sqlx)
    }
}
