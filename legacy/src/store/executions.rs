//! The table `executions`.

use chrono::{DateTime, NaiveDateTime, Utc};
use domain::{
    ExecutionId, ExecutionStatus, FunctionId,
    contract::{EXECUTION_LIST_LIMIT, ExecutionItem},
};

use super::{Store, StoreError, failed, parsed, storable, utc};

/// One execution, as it is kept.
#[derive(Debug)]
pub(crate) struct ExecutionRecord<'a> {
    pub(crate) id: ExecutionId,
    pub(crate) function_id: FunctionId,
    pub(crate) status: ExecutionStatus,
    pub(crate) is_warm_start: bool,
    pub(crate) duration_ms: i64,
    pub(crate) memory_used_bytes: i64,
    /// Empty when it did not fail.
    pub(crate) error: &'a str,
    pub(crate) started_at: DateTime<Utc>,
}

type Row = (String, String, bool, i64, i64, Option<String>, NaiveDateTime);

impl Store {
    pub(crate) async fn insert_execution(&self, execution: &ExecutionRecord<'_>) -> Result<(), StoreError> {
        sqlx::query(
            "insert into executions
                 (id, function_id, status, is_warm_start, duration_ms, memory_used_bytes, error_message, created_at)
             values ($1, $2, $3, $4, $5, $6, nullif($7, ''), $8)",
        )
        .bind(execution.id.to_string())
        .bind(execution.function_id.to_string())
        .bind(execution.status.as_str())
        .bind(execution.is_warm_start)
        .bind(execution.duration_ms)
        .bind(execution.memory_used_bytes)
        .bind(storable(execution.error))
        .bind(execution.started_at.naive_utc())
        .execute(&self.pool)
        .await
        .map_err(failed("recording an execution"))?;
        Ok(())
    }

    /// The newest executions of a function, at most [`EXECUTION_LIST_LIMIT`]; none when there is no
    /// such function.
    pub(crate) async fn newest_executions(&self, function_id: FunctionId) -> Result<Vec<ExecutionItem>, StoreError> {
        const OPERATION: &str = "listing executions";
        let rows: Vec<Row> = sqlx::query_as(
            "select id, status, is_warm_start, duration_ms, memory_used_bytes, error_message, created_at
             from executions where function_id = $1
             order by created_at desc, id desc limit $2",
        )
        .bind(function_id.to_string())
        .bind(EXECUTION_LIST_LIMIT)
        .fetch_all(&self.pool)
        .await
        .map_err(failed(OPERATION))?;
        rows.into_iter()
            .map(|(id, status, is_warm_start, duration_ms, memory_used_bytes, error, created_at)| {
                Ok(ExecutionItem::from_row(
                    parsed(OPERATION, "execution id", &id)?,
                    function_id,
                    parsed(OPERATION, "status", &status)?,
                    is_warm_start,
                    duration_ms,
                    memory_used_bytes,
                    error,
                    utc(created_at),
                ))
            })
            .collect()
    }
}
