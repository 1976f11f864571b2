//! The table `event_audit_logs`: one row for each event that is done with.

use chrono::NaiveDateTime;
use domain::{AuditId, EventId, FunctionId, contract::AuditItem};
use sqlx::PgExecutor;

use super::{Page, Store, StoreError, failed, parsed, storable, utc};

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuditStatus {
    /// Its function succeeded.
    Success,
    /// Its function failed to the last retry, or is gone.
    Failed,
}

impl AuditStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }
}

/// The end of one event.
#[derive(Debug)]
pub(crate) struct AuditEntry<'a> {
    pub(crate) event_id: EventId,
    pub(crate) function_id: FunctionId,
    pub(crate) event_type: &'a str,
    pub(crate) status: AuditStatus,
    /// How long the last attempt took.
    pub(crate) duration_ms: i64,
    /// Empty when it succeeded.
    pub(crate) error: &'a str,
}

type Row = (String, String, String, String, i64, Option<String>, NaiveDateTime);

impl Store {
    /// Records the end of an event; a second delivery of the same event changes nothing.
    pub(crate) async fn audit(&self, entry: &AuditEntry<'_>) -> Result<(), StoreError> {
        insert(&self.pool, entry).await
    }

    /// Whether an event is done with.
    pub(crate) async fn is_audited(&self, event_id: EventId) -> Result<bool, StoreError> {
        let (audited,): (bool,) = sqlx::query_as("select exists (select from event_audit_logs where event_id = $1)")
            .bind(event_id.to_string())
            .fetch_one(&self.pool)
            .await
            .map_err(failed("looking an event up in the audit"))?;
        Ok(audited)
    }

    /// A function's audit, newest first.
    pub(crate) async fn audit_of(&self, function_id: FunctionId, page: Page) -> Result<Vec<AuditItem>, StoreError> {
        const OPERATION: &str = "listing the audit";
        let rows: Vec<Row> = sqlx::query_as(
            "select id, event_id, event_type, status, duration_ms, error_message, created_at
             from event_audit_logs where function_id = $1
             order by created_at desc, id desc limit $2 offset $3",
        )
        .bind(function_id.to_string())
        .bind(page.limit)
        .bind(page.offset)
        .fetch_all(&self.pool)
        .await
        .map_err(failed(OPERATION))?;
        rows.into_iter()
            .map(|(id, event_id, event_type, status, duration_ms, error_message, created_at)| {
                Ok(AuditItem {
                    id: parsed(OPERATION, "audit id", &id)?,
                    event_id: parsed(OPERATION, "event id", &event_id)?,
                    function_id,
                    event_type,
                    status,
                    duration_ms,
                    error_message,
                    created_at: utc(created_at),
                })
            })
            .collect()
    }
}

pub(super) async fn insert(executor: impl PgExecutor<'_>, entry: &AuditEntry<'_>) -> Result<(), StoreError> {
    sqlx::query(
        "insert into event_audit_logs (id, event_id, function_id, event_type, status, duration_ms, error_message)
         values ($1, $2, $3, $4, $5, $6, nullif($7, ''))
         on conflict (event_id) do nothing",
    )
    .bind(AuditId::generate().to_string())
    .bind(entry.event_id.to_string())
    .bind(entry.function_id.to_string())
    .bind(entry.event_type)
    .bind(entry.status.as_str())
    .bind(entry.duration_ms)
    .bind(storable(entry.error))
    .execute(executor)
    .await
    .map_err(failed("recording an event in the audit"))?;
    Ok(())
}
