//! The lock: while it is held nobody writes the slice's tables, and the server lets go of it by itself.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::time::Instant;

use super::door::is_locked;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// A transaction that holds the slice's tables. Dropped, its connection is closed, and the server rolls back.
pub(super) struct Lock {
    connection: PgConnection,
}

impl Lock {
    /// A connection for it, made before anybody waits. `bound` is how long the server waits for a word from here
    /// before it lets go.
    pub(super) async fn connect(pool: &PgPool, bound: Duration) -> sqlx::Result<PgConnection> {
        let mut connection = pool.acquire().await?.detach();
        let milliseconds = bound.as_millis().max(1).to_string();
        sqlx::query("SELECT set_config('idle_in_transaction_session_timeout', $1, false)")
            .bind(milliseconds)
            .execute(&mut connection)
            .await?;
        Ok(connection)
    }

    /// Takes what `statements` lock, in one message: waits for writers that are under way and keeps others waiting.
    /// Every `lock_wait` it steps back and lets those pass that a writer under way may itself be waiting for.
    ///
    /// # Errors
    /// The database's; a lock timeout when `until` has come.
    pub(super) async fn take(
        mut connection: PgConnection,
        statements: &str,
        lock_wait: Duration,
        until: Instant,
    ) -> sqlx::Result<Self> {
        let all = format!("BEGIN; SET LOCAL lock_timeout = {}; {statements}", lock_wait.as_millis().max(1));
        loop {
            match sqlx::raw_sql(AssertSqlSafe(all.clone())).execute(&mut connection).await {
                Ok(_) => return Ok(Self { connection }),
                Err(error) if is_locked(&error) && Instant::now() < until => {
                    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await?;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Does more behind it; seen by others when [`Lock::commit`] has returned.
    pub(super) async fn execute(&mut self, statements: &str) -> sqlx::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut self.connection).await.map(drop)
    }

    /// Lets go, with what was done behind it. Whoever has time ends the connection.
    pub(super) async fn commit(mut self) -> sqlx::Result<PgConnection> {
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await?;
        Ok(self.connection)
    }

    /// Lets go, as if nothing had been.
    pub(super) async fn release(mut self) -> sqlx::Result<()> {
        sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await?;
        self.connection.close().await
    }
}
