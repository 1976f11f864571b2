//! What a cutover writes down, so that whoever comes after a kill knows what to finish or to take back: the
//! only module that knows its table.

use std::time::Duration;

use serde::Serialize;
use sqlx::{Connection as _, PgConnection, PgPool, Row as _, postgres::PgRow};

use crate::stream::Direction;

/// One lock for all who make the schema; the number means nothing.
const SCHEMA_LOCK: i64 = 0x6d69_6772_6174_6537;

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptStep {
    /// Hooks are called; nothing is held.
    Hooks,
    /// Writes are held.
    Held,
    /// The rollout is asked for the new owner.
    Deciding,
    /// The new owner is in force.
    Decided,
    /// It has happened.
    Done,
    /// It has not, and nothing is left of it.
    Undone,
}

impl AttemptStep {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hooks => "hooks",
            Self::Held => "held",
            Self::Deciding => "deciding",
            Self::Decided => "decided",
            Self::Done => "done",
            Self::Undone => "undone",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "hooks" => Self::Hooks,
            "held" => Self::Held,
            "deciding" => Self::Deciding,
            "decided" => Self::Decided,
            "done" => Self::Done,
            _ => Self::Undone,
        }
    }
}

/// An attempt as the journal has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attempt {
    /// Its number.
    #[serde(skip)]
    pub(super) id: i64,
    /// To the candidate, or back.
    pub direction: Direction,
    /// Of its fence.
    #[serde(skip)]
    pub(super) token: String,
    /// How far it came.
    pub step: AttemptStep,
    /// Why it was undone.
    pub reason: Option<String>,
    /// The revision of the rollout that has the new owner.
    pub revision: Option<i64>,
    /// How long writes were held.
    pub held_ms: Option<f64>,
    /// When it began, RFC 3339.
    pub begun_at: String,
}

/// Makes the table, unless it is there.
pub(super) async fn ensure(connection: &mut PgConnection) -> sqlx::Result<()> {
    if is_there(connection).await? {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    sqlx::query("select pg_advisory_xact_lock($1)").bind(SCHEMA_LOCK).execute(&mut *transaction).await?;
    sqlx::raw_sql(include_str!("journal.sql")).execute(&mut *transaction).await?;
    transaction.commit().await
}

async fn is_there(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select to_regclass('strangler.cutover') is not null").fetch_one(connection).await
}

/// A lock that only one process holds, for as long as the connection lives.
pub(super) async fn lock(connection: &mut PgConnection, slice: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended('strangler cutover ' || $1, 0))")
        .bind(slice)
        .fetch_one(connection)
        .await
}

/// The latest attempt of a slice, if there ever was one.
pub(super) async fn latest(candidate: &PgPool, slice: &str) -> sqlx::Result<Option<Attempt>> {
    let mut connection = candidate.acquire().await?;
    if !is_there(&mut connection).await? {
        return Ok(None);
    }
    let row = sqlx::query(
        "select id, direction, token, step, reason, revision, held_ms, \
         to_char(begun_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as begun_at \
         from strangler.cutover where slice = $1 order by id desc limit 1",
    )
    .bind(slice)
    .fetch_optional(&mut *connection)
    .await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &PgRow) -> sqlx::Result<Attempt> {
    let forward = row.try_get::<String, _>("direction")? == Direction::Forward.as_str();
    Ok(Attempt {
        id: row.try_get("id")?,
        direction: if forward { Direction::Forward } else { Direction::Reverse },
        token: row.try_get("token")?,
        step: AttemptStep::parse(&row.try_get::<String, _>("step")?),
        reason: row.try_get("reason")?,
        revision: row.try_get("revision")?,
        held_ms: row.try_get("held_ms")?,
        begun_at: row.try_get("begun_at")?,
    })
}

/// Writes a new attempt down.
pub(super) async fn begin(candidate: &PgPool, slice: &str, direction: Direction, token: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "insert into strangler.cutover (slice, direction, token, step) values ($1, $2, $3, 'hooks') returning id",
    )
    .bind(slice)
    .bind(direction.as_str())
    .bind(token)
    .fetch_one(candidate)
    .await
}

/// What is written down with a step.
#[derive(Debug, Clone, Default)]
pub(super) struct Note {
    pub(super) reason: Option<String>,
    pub(super) revision: Option<u64>,
    pub(super) held: Option<Duration>,
}

/// Writes down how far an attempt has come.
pub(super) async fn reach(candidate: &PgPool, id: i64, step: AttemptStep, note: &Note) -> sqlx::Result<()> {
    let ends = matches!(step, AttemptStep::Done | AttemptStep::Undone);
    sqlx::query(
        "update strangler.cutover set step = $2, reason = coalesce($3, reason), revision = coalesce($4, revision), \
         held_ms = coalesce($5, held_ms), ended_at = case when $6 then clock_timestamp() end where id = $1",
    )
    .bind(id)
    .bind(step.as_str())
    .bind(note.reason.as_deref())
    .bind(note.revision.map(u64::cast_signed))
    .bind(note.held.map(|held| held.as_secs_f64() * 1_000.0))
    .bind(ends)
    .execute(candidate)
    .await
    .map(drop)
}
