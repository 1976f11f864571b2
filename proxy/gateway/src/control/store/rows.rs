//! The statements of the shared store.

use sqlx::{PgExecutor, Row as _, postgres::PgRow, types::Json};

use super::{HistoryQuery, PAGE};
use crate::control::chain::{LogEntry, Revision};

const ENTRY: &str = "revision, at, actor, authenticated_as, reason, kind, changes, epochs, document_sha256, \
                     previous_hash, hash";

/// The revisions from this one on, in their order, at most [`PAGE`] of them.
pub(in crate::control) async fn from(executor: impl PgExecutor<'_>, revision: u64) -> sqlx::Result<Vec<Revision>> {
    let statement =
        format!("SELECT {ENTRY}, document FROM rollout_revisions WHERE revision >= $1 ORDER BY revision LIMIT {PAGE}");
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(signed(revision)).fetch_all(executor).await?;
    rows.iter().map(revision_of).collect()
}

pub(super) async fn find(executor: impl PgExecutor<'_>, revision: u64) -> sqlx::Result<Option<Revision>> {
    let statement = format!("SELECT {ENTRY}, document FROM rollout_revisions WHERE revision = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(signed(revision)).fetch_optional(executor).await?;
    row.as_ref().map(revision_of).transpose()
}

pub(super) async fn recent(executor: impl PgExecutor<'_>, query: &HistoryQuery) -> sqlx::Result<Vec<LogEntry>> {
    let statement = format!(
        "SELECT {ENTRY} FROM rollout_revisions \
         WHERE revision < $1 \
         AND ($2::text IS NULL OR EXISTS (SELECT FROM jsonb_array_elements(changes) AS change \
              WHERE starts_with(change ->> 'key', 'routes.' || $2 || '.'))) \
         ORDER BY revision DESC LIMIT $3"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(signed(query.before.unwrap_or(u64::MAX)))
        .bind(query.route.as_deref())
        .bind(i64::try_from(query.limit).unwrap_or(i64::MAX))
        .fetch_all(executor)
        .await?;
    rows.iter().map(entry_of).collect()
}

pub(super) async fn insert(executor: impl PgExecutor<'_>, next: &Revision) -> sqlx::Result<()> {
    let entry = &next.entry;
    sqlx::query(
        "INSERT INTO rollout_revisions (revision, at, actor, authenticated_as, reason, kind, changes, epochs, \
         document_sha256, previous_hash, hash, document) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(signed(entry.revision))
    .bind(entry.at)
    .bind(&entry.actor)
    .bind(&entry.authenticated_as)
    .bind(&entry.reason)
    .bind(entry.kind.as_str())
    .bind(Json(&entry.changes))
    .bind(Json(&entry.epochs))
    .bind(&entry.document_sha256)
    .bind(&entry.previous_hash)
    .bind(&entry.hash)
    .bind(&next.document)
    .execute(executor)
    .await?;
    Ok(())
}

fn revision_of(row: &PgRow) -> sqlx::Result<Revision> {
    Ok(Revision { entry: entry_of(row)?, document: row.try_get("document")? })
}

fn entry_of(row: &PgRow) -> sqlx::Result<LogEntry> {
    let kind: String = row.try_get("kind")?;
    let kind = serde_json::from_value(kind.into()).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(LogEntry {
        revision: row.try_get::<i64, _>("revision")?.unsigned_abs(),
        at: row.try_get("at")?,
        actor: row.try_get("actor")?,
        authenticated_as: row.try_get("authenticated_as")?,
        reason: row.try_get("reason")?,
        kind,
        changes: row.try_get::<Json<_>, _>("changes")?.0,
        epochs: row.try_get::<Json<_>, _>("epochs")?.0,
        document_sha256: row.try_get("document_sha256")?,
        previous_hash: row.try_get("previous_hash")?,
        hash: row.try_get("hash")?,
    })
}

/// The table checks that revisions are positive, and none is ever beyond 2^63.
fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
