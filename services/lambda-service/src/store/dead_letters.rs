//! `dead_letter_queue`: events whose function failed to the last retry.

use chrono::{DateTime, Utc};
use domain::{DeadLetterId, contract::DeadLetterItem};
use serde_json::{Value, value::RawValue};
use sqlx::types::Json;
use uuid::Uuid;

use super::{Page, RawEvent, Store, StoreError, again, event_queue};

type Row = (
    Uuid,
    Uuid,
    Uuid,
    String,
    Json<Value>,
    String,
    i32,
    i32,
    DateTime<Utc>,
    DateTime<Utc>,
    Option<DateTime<Utc>>,
    String,
    DateTime<Utc>,
);

/// What became of the wish to try a dead letter again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// Its event is accepted.
    Now,
    /// A retry of it is under way already.
    Already,
    /// There is no such dead letter.
    Unknown,
}

/// What of a dead letter makes its event.
#[derive(Debug)]
pub struct BuriedEvent {
    /// The event that was given up.
    pub event_id: domain::EventId,
    /// Its function.
    pub function_id: domain::FunctionId,
    /// What it stemmed from.
    pub event_type: String,
    /// What the function was called with.
    pub payload: Box<RawValue>,
    /// How many failures after the first there may be.
    pub max_retries: i32,
}

impl Store {
    /// Dead letters, the newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn dead_letters(&self, page: Page) -> Result<Vec<DeadLetterItem>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, event_id, function_id, event_type, payload, error_message, retry_count, max_retries, \
             first_attempt_at, last_attempt_at, next_retry_at, status, created_at FROM dead_letter_queue \
             ORDER BY created_at DESC, id DESC LIMIT $1 OFFSET $2",
        )
        .bind(page.limit)
        .bind(page.offset)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::from_sqlx)?;
        Ok(rows.into_iter().map(item).collect())
    }

    /// Accepts the event that `make` makes of a dead letter, and marks the dead letter: one transaction.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn retry_dead_letter(
        &self,
        id: DeadLetterId,
        make: impl Fn(BuriedEvent) -> Result<RawEvent, StoreError>,
    ) -> Result<Retried, StoreError> {
        type Row = (Uuid, Uuid, String, String, i32);
        let mut transaction = self.pool.begin().await.map_err(StoreError::from_sqlx)?;
        let row: Option<Row> = sqlx::query_as(
            "SELECT event_id, function_id, event_type, payload::text, max_retries FROM dead_letter_queue WHERE id = $1",
        )
        .bind(id.as_uuid())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(StoreError::from_sqlx)?;
        let Some((event_id, function_id, event_type, payload, max_retries)) = row else {
            return Ok(Retried::Unknown);
        };
        let payload = RawValue::from_string(payload).map_err(|error| StoreError::Unreadable(Box::new(error)))?;
        let buried = BuriedEvent {
            event_id: event_id.into(),
            function_id: function_id.into(),
            event_type,
            payload,
            max_retries,
        };
        if !event_queue::accept(&mut transaction, &make(buried)?, Some(id)).await? {
            return Ok(Retried::Already);
        }
        let marked = sqlx::query("UPDATE dead_letter_queue SET status = 'retrying' WHERE id = $1")
            .bind(id.as_uuid())
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::from_sqlx)?;
        if marked.rows_affected() == 0 {
            return Ok(Retried::Unknown);
        }
        transaction.commit().await.map_err(StoreError::from_sqlx)?;
        Ok(Retried::Now)
    }

    /// Deletes a dead letter; false when there is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete_dead_letter(&self, id: DeadLetterId) -> Result<bool, StoreError> {
        let delete = || async {
            sqlx::query("DELETE FROM dead_letter_queue WHERE id = $1").bind(id.as_uuid()).execute(&self.pool).await
        };
        again(delete).await.map(|done| done.rows_affected() > 0).map_err(StoreError::from_sqlx)
    }
}

fn item(row: Row) -> DeadLetterItem {
    let (
        id,
        event_id,
        function_id,
        event_type,
        Json(payload),
        error_message,
        retry_count,
        max_retries,
        first_attempt_at,
        last_attempt_at,
        next_retry_at,
        status,
        created_at,
    ) = row;
    DeadLetterItem {
        id: id.into(),
        event_id: event_id.into(),
        function_id: function_id.into(),
        event_type,
        payload,
        error_message,
        retry_count,
        max_retries,
        first_attempt_at,
        last_attempt_at,
        next_retry_at,
        status,
        created_at,
    }
}
