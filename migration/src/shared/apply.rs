//! Makes the changes of a plan.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::time::{Instant, sleep};

use super::{
    error::SharedError,
    inspection::make_plan,
    plan::{Change, Plan},
};
use crate::{identifier::search_path, projection::legal};

/// One lock for all that apply a plan to one database; the number means nothing.
const APPLY_LOCK: i64 = 0x6d69_6772_6174_6531;

/// How long an apply waits, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For another apply to end.
    pub other_apply: Duration,
    /// For a lock on a table. While a statement waits for one, the monolith's own statements queue
    /// up behind it, so this is short.
    pub table_lock: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { other_apply: Duration::from_secs(300), table_lock: Duration::from_secs(5) }
    }
}

/// Makes the changes, those inside of the transaction all or none. Returns what was changed, which
/// is less than the plan when somebody has applied part of it meanwhile.
pub(super) async fn apply(pool: &PgPool, plan: &Plan, patience: Patience) -> Result<Vec<Change>, SharedError> {
    // A connection of its own, closed at the end: lock and settings cannot outlive this apply,
    // however it ends.
    let mut connection = pool.acquire().await.map_err(SharedError::inspect("a connection"))?.detach();
    lock(&mut connection, patience.other_apply).await?;
    let fresh = make_plan(&mut connection, &plan.mapping, plan.purpose).await?;
    if let Some(news) = fresh.changes.iter().find(|change| !covers(plan, change)) {
        return Err(SharedError::Stale { object: news.object.clone(), reason: news.reason.clone() });
    }
    configure(&mut connection, plan, patience).await.map_err(SharedError::inspect("the settings"))?;
    let mut rest = fresh.changes.as_slice();
    while let Some(first) = rest.first() {
        let outside = first.outside_transaction;
        let length = rest.iter().position(|change| change.outside_transaction != outside).unwrap_or(rest.len());
        let (batch, after) = rest.split_at(length);
        if outside {
            execute(&mut connection, batch).await?;
        } else {
            execute_together(&mut connection, batch).await?;
        }
        rest = after;
    }
    // The changes stand whatever the goodbye brings.
    let _ = connection.close().await;
    Ok(fresh.changes)
}

/// Whether the plan speaks of the same object; what exactly it needs may have changed meanwhile
/// only in that less is left to do.
fn covers(plan: &Plan, change: &Change) -> bool {
    plan.changes.iter().any(|planned| {
        planned.object == change.object
            && change.statements.iter().all(|statement| planned.statements.contains(statement) || is_repair(statement))
    })
}

/// The removal of an unfinished index, which an apply that was killed after the plan left behind.
fn is_repair(statement: &str) -> bool {
    statement.starts_with("DROP INDEX CONCURRENTLY ")
}

/// Takes the lock by asking again and again. Waiting for it inside of the database would hold a
/// snapshot, and the other side's concurrent index build waits for all snapshots: a deadlock.
async fn lock(connection: &mut PgConnection, patience: Duration) -> Result<(), SharedError> {
    let begun = Instant::now();
    loop {
        let taken: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(APPLY_LOCK)
            .fetch_one(&mut *connection)
            .await
            .map_err(SharedError::inspect("the lock"))?;
        if taken {
            return Ok(());
        }
        if begun.elapsed() > patience {
            return Err(SharedError::Busy { waited: begun.elapsed() });
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn configure(connection: &mut PgConnection, plan: &Plan, patience: Patience) -> sqlx::Result<()> {
    let path = search_path(&legal(&plan.mapping.source.schema));
    sqlx::query(AssertSqlSafe(format!("SET search_path = {path}"))).execute(&mut *connection).await?;
    let timeout_ms = patience.table_lock.as_millis();
    sqlx::query(AssertSqlSafe(format!("SET lock_timeout = {timeout_ms}"))).execute(&mut *connection).await?;
    Ok(())
}

async fn execute_together(connection: &mut PgConnection, changes: &[Change]) -> Result<(), SharedError> {
    let mut transaction = connection.begin().await.map_err(SharedError::apply("the database", "BEGIN"))?;
    execute(&mut transaction, changes).await?;
    transaction.commit().await.map_err(SharedError::apply("the database", "COMMIT"))
}

async fn execute(connection: &mut PgConnection, changes: &[Change]) -> Result<(), SharedError> {
    for change in changes {
        tracing::info!(migration.object = %change.object, migration.reason = %change.reason, "changing the database");
        for statement in &change.statements {
            // Not prepared: a concurrent index build must be alone in its message.
            sqlx::raw_sql(AssertSqlSafe(statement.clone()))
                .execute(&mut *connection)
                .await
                .map_err(SharedError::apply(&change.object, statement))?;
        }
    }
    Ok(())
}
