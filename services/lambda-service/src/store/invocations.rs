//! `invocations`: the history of executions.

use chrono::{DateTime, Utc};
use database::{FOREIGN_KEY_VIOLATION, UNIQUE_VIOLATION, has_code, is_transient};
use domain::{
    ExecutionId, FunctionId,
    contract::{EXECUTION_LIST_LIMIT, ExecutionItem},
};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::recorder::{Record, Sink, SinkError};

/// A row per element. `NOT EXISTS` makes it safe to say again, also through a view; `EXISTS` leaves
/// out the rows of functions that are deleted. Where a concurrent change slips between the question
/// and the insert, a key is violated, nothing is inserted, and the next try sees the change.
const INSERT_BATCH: &str = "\
    INSERT INTO invocations \
        (id, function_id, status, is_warm_start, duration_ms, memory_used_bytes, error_message, created_at) \
    SELECT r.id, r.function_id, r.status, r.is_warm_start, r.duration_ms, r.memory_used_bytes, r.error_message, \
        r.created_at \
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::boolean[], $5::bigint[], $6::bigint[], $7::text[], \
        $8::timestamptz[]) \
        AS r(id, function_id, status, is_warm_start, duration_ms, memory_used_bytes, error_message, created_at) \
    WHERE EXISTS (SELECT 1 FROM functions AS f WHERE f.id = r.function_id) \
        AND NOT EXISTS (SELECT 1 FROM invocations AS i WHERE i.id = r.id)";

impl Sink for Store {
    async fn insert(&self, records: &[&Record]) -> Result<u64, SinkError> {
        fn column<'a, T>(records: &[&'a Record], field: impl Fn(&'a Record) -> T) -> Vec<T> {
            records.iter().map(|record| field(record)).collect()
        }
        let inserted = sqlx::query(INSERT_BATCH)
            .bind(column(records, |record| record.id.as_uuid()))
            .bind(column(records, |record| record.function_id.as_uuid()))
            .bind(column(records, |record| record.status.as_str()))
            .bind(column(records, |record| record.is_warm_start))
            .bind(column(records, |record| record.duration_ms))
            .bind(column(records, |record| record.memory_used_bytes))
            .bind(column(records, |record| record.error_message.as_deref()))
            .bind(column(records, |record| record.created_at))
            .execute(&self.pool)
            .await;
        match inserted {
            Ok(done) => Ok(done.rows_affected()),
            Err(error) if is_transient(&error) || !is_about_data(&error) => Err(SinkError::Transient(error.into())),
            Err(error) => Err(SinkError::Refused(error.into())),
        }
    }
}

/// Whether what the rows hold is at fault (class 22, and 23 but for the two that a concurrent
/// change explains). Everything else, even what looks permanent such as a missing privilege, is
/// worth waiting for: an operator can mend it, and the history is kept until then.
fn is_about_data(error: &sqlx::Error) -> bool {
    let is_race = has_code(error, FOREIGN_KEY_VIOLATION) || has_code(error, UNIQUE_VIOLATION);
    let class_of_data = error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code.starts_with("22") || code.starts_with("23"));
    class_of_data && !is_race
}

impl Store {
    /// The newest executions of a function, at most [`EXECUTION_LIST_LIMIT`]. An unknown function
    /// has none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn list_executions(&self, function: FunctionId) -> Result<Vec<ExecutionItem>, StoreError> {
        sqlx::query(
            "SELECT id, function_id, status, is_warm_start, duration_ms, memory_used_bytes, error_message, created_at \
             FROM invocations WHERE function_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2",
        )
        .bind(function.as_uuid())
        .bind(EXECUTION_LIST_LIMIT)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::from_sqlx)?
        .iter()
        .map(read)
        .collect()
    }
}

fn read(row: &PgRow) -> Result<ExecutionItem, StoreError> {
    fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        StoreError::Unreadable(Box::new(error))
    }
    Ok(ExecutionItem::from_row(
        ExecutionId::from(row.try_get::<Uuid, _>("id").map_err(unreadable)?),
        FunctionId::from(row.try_get::<Uuid, _>("function_id").map_err(unreadable)?),
        row.try_get::<&str, _>("status").map_err(unreadable)?.parse().map_err(unreadable)?,
        row.try_get::<Option<bool>, _>("is_warm_start").map_err(unreadable)?.unwrap_or_default(),
        row.try_get::<Option<i64>, _>("duration_ms").map_err(unreadable)?.unwrap_or_default(),
        row.try_get::<Option<i64>, _>("memory_used_bytes").map_err(unreadable)?.unwrap_or_default(),
        row.try_get("error_message").map_err(unreadable)?,
        row.try_get::<DateTime<Utc>, _>("created_at").map_err(unreadable)?,
    ))
}
