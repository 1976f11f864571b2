//! What a stream remembers: the only module that knows its tables, quarantine aside.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection, PgPool, types::Json};
use tokio::time::{Instant, sleep};

use super::{Direction, StreamError};
use crate::lsn::Lsn;

/// One lock for all who make the schema; the number means nothing.
const SCHEMA_LOCK: i64 = 0x6d69_6772_6174_6533;

/// How far a stream is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Written down before the slot is made, so that a slot is never forgotten.
    Creating,
    /// The slot keeps the changes while the rows are copied.
    Copying,
    /// The rows are of several points; changes are applied until they are of one again.
    CatchingUp,
    /// Indexes and constraints are made.
    Indexing,
    /// Changes flow.
    Streaming,
    /// The slot is gone, and changes with it.
    Lost,
}

impl Stage {
    /// The word for it in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Copying => "copying",
            Self::CatchingUp => "catching_up",
            Self::Indexing => "indexing",
            Self::Streaming => "streaming",
            Self::Lost => "lost",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "creating" => Self::Creating,
            "copying" => Self::Copying,
            "catching_up" => Self::CatchingUp,
            "indexing" => Self::Indexing,
            "streaming" => Self::Streaming,
            _ => Self::Lost,
        }
    }
}

/// A stream as its ledger has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stream {
    /// The slice's name in the mapping.
    pub slice: String,
    /// Which way.
    pub direction: Direction,
    /// The replication slot, in the database that changes come from.
    pub slot: String,
    /// The publication, there as well.
    pub publication: String,
    /// How far it is.
    pub stage: Stage,
    /// The slot's first point.
    pub start_lsn: Option<Lsn>,
    /// The latest point that a row was copied at.
    pub consistent_lsn: Option<Lsn>,
    /// Everything that committed before it is in the database that changes go to. It may also be
    /// the end of a transaction that had nothing for this slice.
    pub applied_lsn: Option<Lsn>,
    /// Between the last transaction's commit over there and its commit here, in milliseconds, by the
    /// clocks of the two databases; those of the opposite direction do not count.
    pub lag_ms: Option<i64>,
    /// How long ago such a one was applied last, in milliseconds. A running stream applies a heartbeat
    /// every few seconds.
    pub idle_ms: Option<i64>,
    /// Transactions that were applied.
    pub transactions: u64,
    /// Changes of rows in them.
    pub changes: u64,
    /// Changes in quarantine, those that wait behind others included. While there are any, rows
    /// differ, and a cutover must not happen.
    pub quarantined: u64,
    /// Why it stopped, when it did so by itself.
    pub reason: Option<String>,
}

/// A published table as it was when it was accepted: its columns in order, with oid and modifier of their types.
pub(crate) type Signature = Vec<SignedColumn>;

/// One column of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignedColumn {
    pub(crate) name: String,
    pub(crate) type_id: u32,
    pub(crate) modifier: i32,
    /// For people.
    pub(crate) data_type: String,
}

/// Every accepted signature of every table; the latest is the last.
pub(crate) type Signatures = BTreeMap<String, Vec<Signature>>;

/// Makes the tables, unless they are there.
pub(crate) async fn ensure(connection: &mut PgConnection) -> sqlx::Result<()> {
    let there: bool = sqlx::query_scalar("select to_regclass('strangler.stream_schema') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if there {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    // `if not exists` alone loses a race against another who makes the same.
    sqlx::query("select pg_advisory_xact_lock($1)").bind(SCHEMA_LOCK).execute(&mut *transaction).await?;
    sqlx::raw_sql(include_str!("ledger.sql")).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// Whether this database has ever taken a stream.
pub(crate) async fn is_there(pool: &PgPool) -> sqlx::Result<bool> {
    sqlx::query_scalar("select to_regclass('strangler.stream_schema') is not null").fetch_one(pool).await
}

/// Takes the lock that only who runs a stream, or ends it, has, for as long as the connection lives.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    slice: &str,
    direction: Direction,
    patience: Duration,
) -> Result<(), StreamError> {
    let begun = Instant::now();
    loop {
        let taken: bool = sqlx::query_scalar(
            "select pg_try_advisory_lock(hashtextextended('strangler stream ' || $1 || ' ' || $2, 0))",
        )
        .bind(slice)
        .bind(direction.as_str())
        .fetch_one(&mut *connection)
        .await
        .map_err(StreamError::database("lock the stream"))?;
        if taken {
            return Ok(());
        }
        if begun.elapsed() >= patience {
            return Err(StreamError::Busy { waited: begun.elapsed() });
        }
        sleep(Duration::from_millis(50)).await;
    }
}

const READ: &str = "
    select s.slice, s.direction, s.slot, s.publication, s.stage, s.start_lsn::text, s.consistent_lsn::text, s.reason,
           l.applied_lsn::text, l.lag_ms, l.idle_ms, coalesce(l.transactions, 0), coalesce(l.changes, 0),
           (select count(*) from strangler.quarantine q where q.slice = s.slice and q.direction = s.direction)
    from strangler.stream s
    left join lateral (
        select min(applied_lsn) as applied_lsn, max(transactions)::bigint as transactions, sum(changes)::bigint as changes,
               (extract(epoch from max(applied_at) - max(committed_at)) * 1000)::bigint as lag_ms,
               (extract(epoch from clock_timestamp() - max(applied_at)) * 1000)::bigint as idle_ms
        from strangler.stream_lane l where l.slice = s.slice and l.direction = s.direction
    ) as l on true
    where s.slice = coalesce($1, s.slice) and s.direction = coalesce($2, s.direction)
    order by s.slice, s.direction";

type Row = (
    String,
    String,
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    i64,
    i64,
    i64,
);

fn stream(row: Row) -> Stream {
    let position = |text: Option<String>| text.and_then(|text| text.parse().ok());
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Stream {
        slice: row.0,
        direction: row.1.parse().unwrap_or(Direction::Forward),
        slot: row.2,
        publication: row.3,
        stage: Stage::parse(&row.4),
        start_lsn: position(row.5),
        consistent_lsn: position(row.6),
        reason: row.7,
        applied_lsn: position(row.8),
        lag_ms: row.9.map(|lag| lag.max(0)),
        idle_ms: row.10.map(|idle| idle.max(0)),
        transactions: count(row.11),
        changes: count(row.12),
        quarantined: count(row.13),
    }
}

/// The stream of a slice, in the database that changes go to; none when it has never begun.
///
/// # Errors
/// The database cannot be read.
pub async fn find(to: &PgPool, slice: &str, direction: Direction) -> Result<Option<Stream>, StreamError> {
    let work = async {
        if !is_there(to).await? {
            return Ok(None);
        }
        read(&mut *to.acquire().await?, slice, direction).await
    };
    work.await.map_err(StreamError::database("read the ledger of streams"))
}

/// The same, where there is a ledger.
pub(crate) async fn read(
    connection: &mut PgConnection,
    slice: &str,
    direction: Direction,
) -> sqlx::Result<Option<Stream>> {
    let row: Option<Row> = sqlx::query_as(READ).bind(slice).bind(direction.as_str()).fetch_optional(connection).await?;
    Ok(row.map(stream))
}

/// Every stream that writes to a database.
///
/// # Errors
/// The database cannot be read.
pub async fn all(to: &PgPool) -> Result<Vec<Stream>, StreamError> {
    let work = async {
        if !is_there(to).await? {
            return Ok(Vec::new());
        }
        let rows: Vec<Row> = sqlx::query_as(READ).bind(None::<String>).bind(None::<String>).fetch_all(to).await?;
        Ok(rows.into_iter().map(stream).collect())
    };
    work.await.map_err(StreamError::database("read the ledger of streams"))
}

/// Writes down that a slot will be made; what is there already stays.
pub(crate) async fn announce(
    connection: &mut PgConnection,
    slice: &str,
    direction: Direction,
    slot_stem: &str,
    publication: &str,
    signatures: &Signatures,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into strangler.stream (slice, direction, slot, publication, stage, signatures) \
         values ($1, $2, $3 || '_' || left(md5(gen_random_uuid()::text), 8), $4, 'creating', $5) on conflict do nothing",
    )
    .bind(slice)
    .bind(direction.as_str())
    .bind(slot_stem)
    .bind(publication)
    .bind(Json(signatures))
    .execute(connection)
    .await
    .map(drop)
}

/// Writes down the slot's first point, from which every lane begins.
pub(crate) async fn begun(
    connection: &mut PgConnection,
    slice: &str,
    direction: Direction,
    start: Lsn,
    stage: Stage,
) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    sqlx::query(
        "update strangler.stream set start_lsn = $3::pg_lsn, stage = $4, reason = null, \
                consistent_lsn = case when $4 = 'streaming' then $3::pg_lsn end \
         where slice = $1 and direction = $2 and stage = 'creating'",
    )
    .bind(slice)
    .bind(direction.as_str())
    .bind(start.to_string())
    .bind(stage.as_str())
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "insert into strangler.stream_lane (slice, direction, lane, applied_lsn) values ($1, $2, 0, $3::pg_lsn) \
         on conflict do nothing",
    )
    .bind(slice)
    .bind(direction.as_str())
    .bind(start.to_string())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// Goes on to the next stage; `consistent` is set when it is given, and never goes back.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    slice: &str,
    direction: Direction,
    stage: Stage,
    consistent: Option<Lsn>,
) -> sqlx::Result<()> {
    sqlx::query(
        "update strangler.stream set stage = $3, reason = null, consistent_lsn = greatest(consistent_lsn, $4::pg_lsn) \
         where slice = $1 and direction = $2",
    )
    .bind(slice)
    .bind(direction.as_str())
    .bind(stage.as_str())
    .bind(consistent.map(|lsn| lsn.to_string()))
    .execute(connection)
    .await
    .map(drop)
}

/// Writes down why it stops; none takes the reason away.
pub(crate) async fn note(
    connection: &mut PgConnection,
    slice: &str,
    direction: Direction,
    reason: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query("update strangler.stream set reason = $3 where slice = $1 and direction = $2 and stage <> 'lost'")
        .bind(slice)
        .bind(direction.as_str())
        .bind(reason)
        .execute(connection)
        .await
        .map(drop)
}

/// Writes down that the slot is gone.
pub(crate) async fn lose(
    connection: &mut PgConnection,
    slice: &str,
    direction: Direction,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query("update strangler.stream set stage = 'lost', reason = $3 where slice = $1 and direction = $2")
        .bind(slice)
        .bind(direction.as_str())
        .bind(reason)
        .execute(connection)
        .await
        .map(drop)
}

/// Forgets a stream with its lanes and its quarantine.
pub(crate) async fn forget(connection: &mut PgConnection, slice: &str, direction: Direction) -> sqlx::Result<()> {
    sqlx::query("delete from strangler.stream where slice = $1 and direction = $2")
        .bind(slice)
        .bind(direction.as_str())
        .execute(connection)
        .await
        .map(drop)
}

/// What was accepted of the published tables.
pub(crate) async fn signatures(
    connection: &mut PgConnection,
    slice: &str,
    direction: Direction,
) -> sqlx::Result<Signatures> {
    let found: Option<Json<Signatures>> =
        sqlx::query_scalar("select signatures from strangler.stream where slice = $1 and direction = $2")
            .bind(slice)
            .bind(direction.as_str())
            .fetch_optional(connection)
            .await?;
    Ok(found.map(|Json(signatures)| signatures).unwrap_or_default())
}

/// Accepts what is there now.
pub(crate) async fn accept(
    connection: &mut PgConnection,
    slice: &str,
    direction: Direction,
    signatures: &Signatures,
) -> sqlx::Result<()> {
    sqlx::query("update strangler.stream set signatures = $3, reason = null where slice = $1 and direction = $2")
        .bind(slice)
        .bind(direction.as_str())
        .bind(Json(signatures))
        .execute(connection)
        .await
        .map(drop)
}

/// Where each lane is, in their order.
pub(crate) async fn lanes(connection: &mut PgConnection, slice: &str, direction: Direction) -> sqlx::Result<Vec<Lsn>> {
    let found: Vec<String> = sqlx::query_scalar(
        "select applied_lsn::text from strangler.stream_lane where slice = $1 and direction = $2 order by lane",
    )
    .bind(slice)
    .bind(direction.as_str())
    .fetch_all(connection)
    .await?;
    Ok(found.iter().filter_map(|text| text.parse().ok()).collect())
}

/// Divides the work among another number of lanes, which all begin where the last ones were. Only
/// when those were at one position.
pub(crate) async fn divide(
    connection: &mut PgConnection,
    slice: &str,
    direction: Direction,
    lanes: usize,
) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    let last = i32::try_from(lanes.saturating_sub(1)).unwrap_or(0);
    sqlx::query("delete from strangler.stream_lane where slice = $1 and direction = $2 and lane > $3")
        .bind(slice)
        .bind(direction.as_str())
        .bind(last)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "insert into strangler.stream_lane (slice, direction, lane, applied_lsn) \
         select slice, direction, n, applied_lsn from strangler.stream_lane, generate_series(1, $3) as n \
         where slice = $1 and direction = $2 and lane = 0 on conflict do nothing",
    )
    .bind(slice)
    .bind(direction.as_str())
    .bind(last)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}
