//! The table `dead_letter_queue`: events whose function failed to the last retry.

use chrono::{DateTime, NaiveDateTime, Utc};
use domain::{DeadLetterId, contract::DeadLetterItem};
use serde_json::Value;
use sqlx::types::Json;

use super::{AuditEntry, Page, Store, StoreError, audit, failed, parsed, storable, utc};

/// An event to be given up.
#[derive(Debug)]
pub(crate) struct DeadLetter<'a> {
    /// How its last attempt ended; also what the audit says.
    pub(crate) entry: AuditEntry<'a>,
    pub(crate) payload: &'a Value,
    pub(crate) retry_count: i32,
    pub(crate) max_retries: i32,
    pub(crate) first_attempt_at: DateTime<Utc>,
    pub(crate) last_attempt_at: DateTime<Utc>,
}

type Row = (
    String,
    String,
    String,
    String,
    Json<Value>,
    String,
    i32,
    i32,
    NaiveDateTime,
    NaiveDateTime,
    Option<NaiveDateTime>,
    String,
    NaiveDateTime,
);

impl Store {
    /// Records the dead letter and the end of its event together. When the event had its end
    /// already (a second delivery), nothing is written.
    ///
    /// # Errors
    /// [`StoreError::NoSuchFunction`] when the function was deleted meanwhile: its dead letters
    /// went with it.
    pub(crate) async fn bury(&self, letter: &DeadLetter<'_>) -> Result<(), StoreError> {
        const OPERATION: &str = "recording a dead letter";
        let mut transaction = self.pool.begin().await.map_err(failed(OPERATION))?;
        sqlx::query(
            "insert into dead_letter_queue
                 (id, event_id, function_id, event_type, payload, error_message, retry_count, max_retries,
                  first_attempt_at, last_attempt_at)
             select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
             where not exists (select from event_audit_logs where event_id = $2)",
        )
        .bind(DeadLetterId::generate().to_string())
        .bind(letter.entry.event_id.to_string())
        .bind(letter.entry.function_id.to_string())
        .bind(letter.entry.event_type)
        .bind(Json(storable_json(letter.payload)))
        .bind(storable(letter.entry.error))
        .bind(letter.retry_count)
        .bind(letter.max_retries)
        .bind(letter.first_attempt_at.naive_utc())
        .bind(letter.last_attempt_at.naive_utc())
        .execute(&mut *transaction)
        .await
        .map_err(failed(OPERATION))?;
        audit::insert(&mut *transaction, &letter.entry).await?;
        transaction.commit().await.map_err(failed(OPERATION))
    }

    /// Dead letters, newest first.
    pub(crate) async fn dead_letters(&self, page: Page) -> Result<Vec<DeadLetterItem>, StoreError> {
        const OPERATION: &str = "listing dead letters";
        let rows: Vec<Row> = sqlx::query_as(
            "select id, event_id, function_id, event_type, payload, error_message, retry_count, max_retries,
                    first_attempt_at, last_attempt_at, next_retry_at, status, created_at
             from dead_letter_queue order by created_at desc, id desc limit $1 offset $2",
        )
        .bind(page.limit)
        .bind(page.offset)
        .fetch_all(&self.pool)
        .await
        .map_err(failed(OPERATION))?;
        rows.into_iter().map(|row| item(OPERATION, row)).collect()
    }

    /// Marks a dead letter as being retried, which is all that the monolith ever did about it.
    /// `false` when there is none.
    pub(crate) async fn mark_dead_letter_retrying(&self, id: DeadLetterId) -> Result<bool, StoreError> {
        let done = sqlx::query("update dead_letter_queue set status = 'retrying' where id = $1")
            .bind(id.to_string())
            .execute(&self.pool)
            .await
            .map_err(failed("marking a dead letter"))?;
        Ok(done.rows_affected() > 0)
    }

    /// `false` when there is no such dead letter.
    pub(crate) async fn delete_dead_letter(&self, id: DeadLetterId) -> Result<bool, StoreError> {
        let done = sqlx::query("delete from dead_letter_queue where id = $1")
            .bind(id.to_string())
            .execute(&self.pool)
            .await
            .map_err(failed("deleting a dead letter"))?;
        Ok(done.rows_affected() > 0)
    }
}

fn item(operation: &'static str, row: Row) -> Result<DeadLetterItem, StoreError> {
    let (
        id,
        event_id,
        function_id,
        event_type,
        payload,
        error_message,
        retry_count,
        max_retries,
        first,
        last,
        next,
        status,
        created_at,
    ) = row;
    Ok(DeadLetterItem {
        id: parsed(operation, "dead letter id", &id)?,
        event_id: parsed(operation, "event id", &event_id)?,
        function_id: parsed(operation, "function id", &function_id)?,
        event_type,
        payload: payload.0,
        error_message,
        retry_count,
        max_retries,
        first_attempt_at: utc(first),
        last_attempt_at: utc(last),
        next_retry_at: next.map(utc),
        status,
        created_at: utc(created_at),
    })
}

/// jsonb cannot hold NUL either, in a key or in a value.
fn storable_json(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(storable(text).into_owned()),
        Value::Array(items) => items.iter().map(storable_json).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (storable(key).into_owned(), storable_json(value))).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_is_replaced_wherever_it_stands() {
        let value = json!({"a\u{0}": ["b\u{0}c", 1, null, {"d": "\u{0}"}]});
        assert_eq!(storable_json(&value), json!({"a\u{fffd}": ["b\u{fffd}c", 1, null, {"d": "\u{fffd}"}]}));
    }
}
