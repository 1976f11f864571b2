//! How events end: in one transaction the event leaves the queue, its end is audited, and what it was the last
//! attempt of becomes a dead letter, or is none any more.

use chrono::{DateTime, Utc};
use database::{FOREIGN_KEY_VIOLATION, SERIALIZATION_FAILURE, UNIQUE_VIOLATION, has_code};
use domain::{AuditId, DeadLetterId, FunctionId, contract::AuditItem};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Page, Store, StoreError, Taken, storable};

/// How often a row is tried that meets the monolith's own changes of it.
const ATTEMPTS: u8 = 5;

/// How an event ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventEnd {
    /// How long its last attempt took.
    pub duration_ms: i64,
    /// How it failed; none when it succeeded.
    pub error: Option<String>,
    /// What its dead letter says; none for one that leaves no dead letter behind.
    pub dead_letter: Option<NewDeadLetter>,
}

/// What a dead letter says besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeadLetter {
    /// What the function was called with, as JSON.
    pub payload: String,
    /// Failures after the first.
    pub retry_count: i32,
    /// How many there might have been.
    pub max_retries: i32,
    /// When the function was first called.
    pub first_attempt_at: DateTime<Utc>,
    /// When it was last called.
    pub last_attempt_at: DateTime<Utc>,
}

/// What ending an event came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It has ended, like this.
    Now,
    /// It had ended before; only its row was left.
    Before,
    /// It is another worker's by now: nothing was changed.
    Lost,
}

impl Store {
    /// Ends an event.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing was changed.
    pub async fn end_event(&self, taken: &Taken, end: &EventEnd) -> Result<Ended, StoreError> {
        if taken.has_ended {
            return self.forget_event(taken).await;
        }
        let mut end = end.clone();
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            match self.try_to_end(taken, &end).await {
                // Somebody else's audit of the same event came first: the monolith's, in the shared stage.
                Err(error) if has_code(&error, UNIQUE_VIOLATION) => return self.forget_event(taken).await,
                // The function was deleted meanwhile, and its dead letters with it.
                Err(error) if has_code(&error, FOREIGN_KEY_VIOLATION) && end.dead_letter.is_some() => {
                    end.dead_letter = None;
                }
                Err(error) if attempts > 0 && has_code(&error, SERIALIZATION_FAILURE) => {}
                ended => return ended.map_err(StoreError::from_sqlx),
            }
        }
    }

    /// Takes an event out of the queue whose end is audited already.
    async fn forget_event(&self, taken: &Taken) -> Result<Ended, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(StoreError::from_sqlx)?;
        let was_ours = leave_queue(&mut connection, taken).await.map_err(StoreError::from_sqlx)?;
        Ok(if was_ours { Ended::Before } else { Ended::Lost })
    }

    async fn try_to_end(&self, taken: &Taken, end: &EventEnd) -> sqlx::Result<Ended> {
        let mut transaction = self.pool.begin().await?;
        if !leave_queue(&mut transaction, taken).await? {
            return Ok(Ended::Lost);
        }
        audit(&mut transaction, taken, end).await?;
        match (taken.dead_letter, &end.dead_letter) {
            (None, Some(letter)) => bury(&mut transaction, taken, end, letter).await?,
            (Some(id), Some(letter)) => bury_again(&mut transaction, id, end, letter).await?,
            (Some(id), None) => dig_up(&mut transaction, id).await?,
            (None, None) => {}
        }
        transaction.commit().await?;
        Ok(Ended::Now)
    }

    /// A function's audit, the newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn audit_of(&self, function: FunctionId, page: Page) -> Result<Vec<AuditItem>, StoreError> {
        type Row = (Uuid, Uuid, String, String, i64, Option<String>, DateTime<Utc>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, event_id, event_type, status, duration_ms, error_message, created_at FROM event_audit \
             WHERE function_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3",
        )
        .bind(function.as_uuid())
        .bind(page.limit)
        .bind(page.offset)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::from_sqlx)?;
        let item = |(id, event_id, event_type, status, duration_ms, error_message, created_at): Row| AuditItem {
            id: id.into(),
            event_id: event_id.into(),
            function_id: function,
            event_type,
            status,
            duration_ms,
            error_message,
            created_at,
        };
        Ok(rows.into_iter().map(item).collect())
    }
}

async fn leave_queue(connection: &mut PgConnection, taken: &Taken) -> sqlx::Result<bool> {
    let done = sqlx::query("DELETE FROM event_queue WHERE id = $1 AND lease_token = $2")
        .bind(taken.id.as_uuid())
        .bind(taken.token)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

async fn audit(connection: &mut PgConnection, taken: &Taken, end: &EventEnd) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO event_audit (id, event_id, function_id, event_type, status, duration_ms, error_message) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(AuditId::generate().as_uuid())
    .bind(taken.id.as_uuid())
    .bind(taken.function_id.as_uuid())
    .bind(taken.event_type.as_str())
    .bind(if end.error.is_none() { "success" } else { "failed" })
    .bind(end.duration_ms)
    .bind(end.error.as_deref().map(storable))
    .execute(connection)
    .await
    .map(drop)
}

async fn bury(
    connection: &mut PgConnection,
    taken: &Taken,
    end: &EventEnd,
    letter: &NewDeadLetter,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO dead_letter_queue (id, event_id, function_id, event_type, payload, error_message, retry_count, \
         max_retries, first_attempt_at, last_attempt_at) VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8, $9, $10)",
    )
    .bind(DeadLetterId::generate().as_uuid())
    .bind(taken.id.as_uuid())
    .bind(taken.function_id.as_uuid())
    .bind(taken.event_type.as_str())
    .bind(&letter.payload)
    .bind(storable(end.error.as_deref().unwrap_or_default()))
    .bind(letter.retry_count)
    .bind(letter.max_retries)
    .bind(letter.first_attempt_at)
    .bind(letter.last_attempt_at)
    .execute(connection)
    .await
    .map(drop)
}

/// A retry has failed like its event: the same dead letter says so. One that was deleted meanwhile stays deleted.
async fn bury_again(
    connection: &mut PgConnection,
    id: DeadLetterId,
    end: &EventEnd,
    letter: &NewDeadLetter,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE dead_letter_queue SET status = 'pending', error_message = $2, retry_count = $3, last_attempt_at = $4 \
         WHERE id = $1",
    )
    .bind(id.as_uuid())
    .bind(storable(end.error.as_deref().unwrap_or_default()))
    .bind(letter.retry_count)
    .bind(letter.last_attempt_at)
    .execute(connection)
    .await
    .map(drop)
}

/// A retry has succeeded, or there is nobody left to retry it: it is no dead letter any more.
async fn dig_up(connection: &mut PgConnection, id: DeadLetterId) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM dead_letter_queue WHERE id = $1").bind(id.as_uuid()).execute(connection).await.map(drop)
}
