//! The toolkit's own tables in a database. Each module knows its own; all are in the schema
//! `strangler`, which a role that may not make schemas can be given beforehand.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// One lock for all who make the schema; the number means nothing.
const SCHEMA_LOCK: i64 = 0x6d69_6772_6174_6532;

/// Makes tables by `statements`, unless the one called `last`, which they make last, is there.
pub(crate) async fn ensure(connection: &mut PgConnection, last: &str, statements: &'static str) -> sqlx::Result<()> {
    let there: bool =
        sqlx::query_scalar("select to_regclass($1) is not null").bind(last).fetch_one(&mut *connection).await?;
    if there {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    // `if not exists` alone loses a race against another who makes the same.
    sqlx::query("select pg_advisory_xact_lock($1)").bind(SCHEMA_LOCK).execute(&mut *transaction).await?;
    sqlx::raw_sql(AssertSqlSafe("create schema if not exists strangler")).execute(&mut *transaction).await?;
    sqlx::raw_sql(statements).execute(&mut *transaction).await?;
    transaction.commit().await
}
