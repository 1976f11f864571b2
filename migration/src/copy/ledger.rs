//! What a copy remembers in the target database: the only module that knows its tables.

use std::{collections::BTreeMap, time::Duration};

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::time::{Instant, sleep};

use super::{chunk::Chunk, error::CopyError};
use crate::{
    identifier::{QualifiedName, literal},
    link::{LinkError, Session},
    slice::{KeyRange, SlicePlan},
};

/// One lock for all who make the schema; the number means nothing.
const SCHEMA_LOCK: i64 = 0x6d69_6772_6174_6532;

/// What stands in the ledger of one slice.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Parts of tables.
    pub chunks: u64,
    /// Those that are there.
    pub done: u64,
    /// Their rows.
    pub rows: u64,
    /// Bytes that were sent for them.
    pub bytes: u64,
    /// The earliest point that one was read at.
    pub earliest_lsn: Option<String>,
    /// The latest.
    pub latest_lsn: Option<String>,
}

/// Makes the tables, unless they are there.
pub(crate) async fn ensure(connection: &mut PgConnection) -> sqlx::Result<()> {
    if is_there(connection).await? {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    // `if not exists` alone loses a race against another who makes the same.
    sqlx::query("select pg_advisory_xact_lock($1)").bind(SCHEMA_LOCK).execute(&mut *transaction).await?;
    sqlx::raw_sql(include_str!("ledger.sql")).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// Whether the tables are there.
pub(crate) async fn is_there(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select to_regclass('strangler.copy_definition') is not null").fetch_one(connection).await
}

/// The earliest point that the rows of each table were read at, by its name as SQL.
pub(crate) async fn points(connection: &mut PgConnection, slice: &str) -> sqlx::Result<BTreeMap<String, String>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select table_name, min(snapshot_lsn)::text from strangler.copy_chunk \
         where slice = $1 group by table_name having min(snapshot_lsn) is not null",
    )
    .bind(slice)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().collect())
}

/// A lock that only one copy of a slice holds, for as long as the connection lives.
pub(crate) async fn lock(connection: &mut PgConnection, slice: &str, patience: Duration) -> Result<(), CopyError> {
    let begun = Instant::now();
    loop {
        let taken: bool =
            sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended('strangler copy ' || $1, 0))")
                .bind(slice)
                .fetch_one(&mut *connection)
                .await
                .map_err(CopyError::database("lock the slice"))?;
        if taken {
            return Ok(());
        }
        if begun.elapsed() >= patience {
            return Err(CopyError::Busy { waited: begun.elapsed() });
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a table has been divided into chunks already.
pub(crate) async fn is_divided(
    connection: &mut PgConnection,
    slice: &str,
    table: &QualifiedName,
) -> sqlx::Result<bool> {
    sqlx::query_scalar("select exists (select from strangler.copy_chunk where slice = $1 and table_name = $2)")
        .bind(slice)
        .bind(table.quoted())
        .fetch_one(connection)
        .await
}

/// Remembers how a table is divided, all of it or nothing.
pub(crate) async fn divide(
    connection: &mut PgConnection,
    slice: &str,
    table: &QualifiedName,
    ranges: &[KeyRange],
) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    for (chunk, range) in (0_i32..).zip(ranges) {
        sqlx::query(
            "insert into strangler.copy_chunk (slice, table_name, chunk, after_key, upto_key) values ($1, $2, $3, $4, $5)",
        )
        .bind(slice)
        .bind(table.quoted())
        .bind(chunk)
        .bind(&range.after)
        .bind(&range.upto)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await
}

/// The chunks that are not there yet, of one table.
pub(crate) async fn undone(
    connection: &mut PgConnection,
    slice: &str,
    table: &QualifiedName,
) -> sqlx::Result<Vec<(i32, KeyRange)>> {
    type Row = (i32, Option<Vec<String>>, Option<Vec<String>>);
    let rows: Vec<Row> = sqlx::query_as(
        "select chunk, after_key, upto_key from strangler.copy_chunk \
         where slice = $1 and table_name = $2 and done_at is null order by chunk",
    )
    .bind(slice)
    .bind(table.quoted())
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(chunk, after, upto)| (chunk, KeyRange { after, upto })).collect())
}

/// Begins the transaction that will write the rows of a chunk, and takes the chunk in it. Waits for whoever else has it;
/// `false`, and no transaction, when it is done already.
pub(crate) async fn begin_chunk(session: &mut Session, chunk: &Chunk) -> Result<bool, LinkError> {
    let claim =
        format!("BEGIN; SELECT FROM strangler.copy_chunk WHERE {} AND done_at IS NULL FOR UPDATE", is_chunk(chunk));
    let open = !session.query(&claim).await?.is_empty();
    if !open {
        session.query("ROLLBACK").await?;
    }
    Ok(open)
}

/// Marks a chunk as done in the transaction of its rows, and ends that.
pub(crate) async fn end_chunk(
    session: &mut Session,
    chunk: &Chunk,
    lsn: &str,
    rows: u64,
    bytes: u64,
) -> Result<(), LinkError> {
    let done = format!(
        "UPDATE strangler.copy_chunk SET done_at = now(), snapshot_lsn = {}, row_count = {rows}, byte_count = {bytes} \
         WHERE {}; COMMIT",
        literal(lsn),
        is_chunk(chunk)
    );
    session.query(&done).await.map(drop)
}

/// The condition that a row is that of a chunk.
fn is_chunk(chunk: &Chunk) -> String {
    let (slice, table) = (literal(&chunk.slice), literal(&chunk.table.target.quoted()));
    format!("slice = {slice} AND table_name = {table} AND chunk = {}", chunk.number)
}

/// Sums up a slice.
pub(crate) async fn totals(connection: &mut PgConnection, slice: &str) -> sqlx::Result<Totals> {
    type Row = (i64, i64, i64, i64, Option<String>, Option<String>);
    let (chunks, done, rows, bytes, earliest_lsn, latest_lsn): Row = sqlx::query_as(
        "select count(*), count(done_at), coalesce(sum(row_count), 0)::bigint, coalesce(sum(byte_count), 0)::bigint, \
         min(snapshot_lsn)::text, max(snapshot_lsn)::text from strangler.copy_chunk where slice = $1",
    )
    .bind(slice)
    .fetch_one(connection)
    .await?;
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(Totals {
        chunks: count(chunks),
        done: count(done),
        rows: count(rows),
        bytes: count(bytes),
        earliest_lsn,
        latest_lsn,
    })
}

/// Back to the beginning: the tables are emptied in the transaction that forgets their chunks.
pub(crate) async fn forget(target: &PgPool, plan: &SlicePlan) -> Result<(), CopyError> {
    let work = async {
        let mut connection = target.acquire().await?;
        ensure(&mut connection).await?;
        let mut transaction = connection.begin().await?;
        let tables: Vec<String> =
            plan.tables.iter().filter(|table| !table.missing).map(|table| table.target.quoted()).collect();
        if !tables.is_empty() {
            // Refused when a table outside of the slice refers to one of them, and rightly.
            let truncate = format!("TRUNCATE {}", tables.join(", "));
            sqlx::query(AssertSqlSafe(truncate)).execute(&mut *transaction).await?;
        }
        sqlx::query("delete from strangler.copy_chunk where slice = $1")
            .bind(&plan.name)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    };
    work.await.map_err(CopyError::database("forget what was copied"))
}
