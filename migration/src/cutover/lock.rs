//! The lock: while it is held nobody writes the slice's tables, and the server lets go of it by itself.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::time::Instant;

use super::door::{Door, is_locked, set_lock_timeout};

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

    /// Waits for writers that are under way and keeps others waiting. Every `lock_wait` it steps back and lets
    /// those pass that a writer under way may itself be waiting for.
    ///
    /// # Errors
    /// The database's; a lock timeout when `until` has come.
    pub(super) async fn take(
        mut connection: PgConnection,
        door: &Door,
        lock_wait: Duration,
        until: Instant,
    ) -> sqlx::Result<Self> {
        loop {
            sqlx::raw_sql("BEGIN").execute(&mut connection).await?;
            set_lock_timeout(&mut connection, lock_wait).await?;
            match sqlx::raw_sql(AssertSqlSafe(door.lock_statement())).execute(&mut connection).await {
                Ok(_) => return Ok(Self { connection }),
                Err(error) if is_locked(&error) && Instant::now() < until => {
                    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await?;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Shuts the door; seen by others when [`Lock::commit`] has returned.
    pub(super) async fn shut(&mut self, door: &Door) -> sqlx::Result<()> {
        door.shut_in(&mut self.connection).await
    }

    /// Lets go, with the door shut. Whoever waits to write is refused then.
    pub(super) async fn commit(mut self) -> sqlx::Result<()> {
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await?;
        self.connection.close().await
    }

    /// Lets go, as if nothing had been.
    pub(super) async fn release(mut self) -> sqlx::Result<()> {
        sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await?;
        self.connection.close().await
    }
}
