//! The stream of changes of a slice, in either direction.
//!
//! ```text
//!   from   log ─► slot (pgoutput) ─► COPY BOTH ─┐
//!                                               │ decoded, then evaluated by the slice's plan
//!   to     BEGIN; rows; lane's position; COMMIT ◄┘
//!   from   slot ◄─ confirmed, after the commit
//! ```
//!
//! [`Direction::Forward`] goes from the monolith's database to the candidate's, [`Direction::Reverse`]
//! back. Everything a stream remembers is in the schema `strangler` of the database that it writes to.
//! What it writes carries a replication origin of its own; the stream of the opposite direction leaves
//! such changes out, so both may run at once and nothing goes round in a circle.
//!
//! # For a cutover
//! 1. Well before the fence: [`begin`] the reverse stream. Its slot waits for every open transaction,
//!    which a fence must not; until the candidate is written to, it has nothing to carry.
//! 2. Fence. [`mark`] in the database that was written to; the mark follows every commit before it.
//! 3. [`wait_until_applied`] with the mark's position; [`find`] says whether anything is in
//!    quarantine. Neither reads or writes rows.
//! 4. The other side is written to. Leave both streams running: the one that has become idle stays
//!    fresh, so that a way back, and forth again, needs no new copy.
//! 5. [`end`] the streams when there is no way back any more.
//!
//! # What it takes
//! On the server that changes come from: `wal_level = logical`, one of `max_replication_slots` and of
//! `max_wal_senders`, and two while the copy goes on. On the server that is written: one of
//! `max_replication_slots` for each lane, which is where PostgreSQL keeps origins.
//!
//! # Privileges
//! What a role needs that is not a superuser:
//! ```sql
#![doc = include_str!("privileges.sql")]
//! ```

mod assembly;
mod direction;
mod error;
mod ledger;
mod publication;
mod quarantine;
mod reader;
mod slot;
mod spool;
mod status;
mod sync;

use std::time::Duration;

pub use direction::Direction;
pub use error::StreamError;
pub use ledger::{Stage, Stream, all, find};
use ledger::{accept, advance, divide, lanes, lose, note};
pub use publication::{publication_name, publication_sql};
pub use quarantine::{Ask, Quarantined, ask, quarantined};
pub use slot::{SlotSnapshot, SlotState};
use sqlx::{AssertSqlSafe, Connection, PgPool};
pub use status::{Status, status};
pub use sync::{Settings, Sync};
use tokio::time::{Instant, sleep};

use crate::{lsn::Lsn, slice::SlicePlan};

/// The prefix of messages that this crate writes into the log.
const PREFIX: &str = "strangler";

/// How often a position is asked for while somebody waits.
const POLL: Duration = Duration::from_millis(1);

/// Who was told to stop is given so long before a stream is ended.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// What [`begin`] found or made.
pub struct Begun {
    /// The stream.
    pub stream: Stream,
    /// The snapshot of the slot's first point, when the slot was made by this call.
    pub snapshot: Option<SlotSnapshot>,
}

/// Makes the publication and the slot of a stream and writes it down, unless that has happened. A
/// reverse stream carries what changes from now on; a forward stream also awaits a copy.
///
/// # Errors
/// [`StreamError::Unfit`] names what must change first, with the statement; [`StreamError::Lost`] when
/// the slot of a stream that had begun is gone.
pub async fn begin(
    from: &PgPool,
    to: &PgPool,
    plan: &SlicePlan,
    direction: Direction,
    patience: Duration,
) -> Result<Begun, StreamError> {
    let reading = StreamError::database;
    let mut source = from.acquire().await.map_err(reading("reach the database that changes come from"))?.detach();
    let mut target = to.acquire().await.map_err(reading("reach the database that changes go to"))?.detach();
    ledger::ensure(&mut target).await.map_err(reading("make the ledger of streams"))?;
    if let Some(stream) = find(to, &plan.name, direction).await?
        && stream.stage != Stage::Creating
    {
        return found(&mut source, &mut target, stream).await;
    }
    let findings = publication::obstacles(&mut source, plan, direction).await.map_err(reading("look at the tables"))?;
    if !findings.is_empty() {
        return Err(StreamError::Unfit { findings });
    }
    publication::ensure(&mut source, plan, direction).await?;
    let signatures =
        publication::signatures(&mut source, plan, direction).await.map_err(reading("look at the tables"))?;
    let name = publication_name(&plan.name, direction);
    let stem = slot::stem(&plan.name, direction);
    let writing = || StreamError::database("write the ledger of streams");
    ledger::announce(&mut target, &plan.name, direction, &stem, name.as_str(), &signatures).await.map_err(writing())?;
    let stream = find(to, &plan.name, direction).await?.ok_or_else(|| unknown(&plan.name))?;
    let made = slot::state(&mut source, &stream.slot).await.map_err(reading("look at the slot"))?;
    // One that was made just before a kill begins at the same point, only its snapshot is gone.
    crate::failpoint::hit("stream.announced");
    let (start, snapshot) = match made.and_then(|slot| slot.confirmed_lsn) {
        Some(start) => (start, None),
        None => {
            let made = slot::create(from, &stream.slot, false, patience).await?;
            (made.snapshot().lsn.parse().unwrap_or_default(), Some(made))
        }
    };
    crate::failpoint::hit("stream.slot_made");
    let stage = if direction == Direction::Forward { Stage::Copying } else { Stage::Streaming };
    ledger::begun(&mut target, &plan.name, direction, start, stage).await.map_err(writing())?;
    let stream = find(to, &plan.name, direction).await?.ok_or_else(|| unknown(&plan.name))?;
    Ok(Begun { stream, snapshot })
}

async fn found(
    source: &mut sqlx::PgConnection,
    target: &mut sqlx::PgConnection,
    stream: Stream,
) -> Result<Begun, StreamError> {
    let lost = |reason: &str| StreamError::Lost { slice: stream.slice.clone(), reason: reason.to_owned() };
    if stream.stage == Stage::Lost {
        // One that was given up may still be there, when it was in use or a kill came between.
        slot::drop_if_there(source, &stream.slot).await.map_err(StreamError::database("drop the slot"))?;
        return Err(lost(stream.reason.as_deref().unwrap_or("it was given up")));
    }
    let slot = slot::state(source, &stream.slot).await.map_err(StreamError::database("look at the slot"))?;
    let reason = match slot {
        None => "the server has no such slot any more",
        Some(slot) if slot.wal_status == "lost" => "the server has removed log that it needed",
        Some(_) => return Ok(Begun { stream, snapshot: None }),
    };
    ledger::lose(target, &stream.slice, stream.direction, reason)
        .await
        .map_err(StreamError::database("write the ledger of streams"))?;
    Err(lost(reason))
}

/// Another snapshot of the source, at a point that is exactly known, for a copy whose first one is
/// gone. Takes a slot of the server's for as long as it lives.
async fn later_snapshot(from: &PgPool, stream: &Stream, patience: Duration) -> Result<SlotSnapshot, StreamError> {
    slot::create(from, &format!("{}_copy", &stream.slot[..stream.slot.len().min(58)]), true, patience).await
}

/// What the server says about a stream's slot; none when it has none.
///
/// # Errors
/// The database cannot be read.
pub async fn slot_state(from: &PgPool, stream: &Stream) -> Result<Option<SlotState>, StreamError> {
    let work = async { slot::state(&mut *from.acquire().await?, &stream.slot).await };
    work.await.map_err(StreamError::database("look at the slot"))
}

/// Writes a mark into the log of the database that changes come from, and returns where it is. A
/// stream that has applied everything up to there has applied every transaction that had committed
/// when this was called.
///
/// # Errors
/// The database cannot be written.
pub async fn mark(from: &PgPool, slice: &str) -> Result<Lsn, StreamError> {
    let work = async {
        // Committed by itself: what is in the log of an open transaction is decoded only at its end.
        let at: String = sqlx::query_scalar("select pg_logical_emit_message(true, $1, $2)::text")
            .bind(PREFIX)
            .bind(slice)
            .fetch_one(from)
            .await?;
        Ok(at.parse().unwrap_or_default())
    };
    work.await.map_err(StreamError::database("write a mark into the log"))
}

/// Waits until a running stream has applied everything up to a position; answers how it is then.
///
/// # Errors
/// [`StreamError::Behind`] when it has not within `patience`; [`StreamError::Stopped`] at once when the
/// stream has stopped by itself.
pub async fn wait_until_applied(
    to: &PgPool,
    slice: &str,
    direction: Direction,
    position: Lsn,
    patience: Duration,
) -> Result<Stream, StreamError> {
    let begun = Instant::now();
    let reading = || StreamError::database("read the ledger of streams");
    if !ledger::is_there(to).await.map_err(reading())? {
        return Err(unknown(slice));
    }
    let mut connection = to.acquire().await.map_err(reading())?;
    loop {
        let stream = ledger::read(&mut connection, slice, direction).await.map_err(reading())?;
        let stream = stream.ok_or_else(|| unknown(slice))?;
        if stream.applied_lsn.is_some_and(|applied| applied >= position) {
            return Ok(stream);
        }
        if let Some(reason) = stream.reason {
            return Err(StreamError::Stopped { slice: slice.to_owned(), reason });
        }
        if begun.elapsed() >= patience {
            return Err(StreamError::Behind {
                applied: stream.applied_lsn.unwrap_or_default().to_string(),
                wanted: position.to_string(),
                waited: begun.elapsed(),
            });
        }
        sleep(POLL).await;
    }
}

/// Drops a stream's slot and publication, and forgets it with its quarantine. Rows stay as they are.
/// There is no way to go on afterwards, so that whoever runs the stream has to be stopped first.
///
/// # Errors
/// [`StreamError::Busy`] while somebody runs it; a database cannot be reached, or refuses.
pub async fn end(from: &PgPool, to: &PgPool, slice: &str, direction: Direction) -> Result<(), StreamError> {
    let Some(stream) = find(to, slice, direction).await? else { return Ok(()) };
    let reaching = StreamError::database("reach the database that changes go to");
    let mut target = to.acquire().await.map_err(reaching)?.detach();
    ledger::lock(&mut target, slice, direction, END_PATIENCE).await?;
    take_down(from, to, &stream).await
}

/// The same for who has the stream's lock.
async fn take_down(from: &PgPool, to: &PgPool, stream: &Stream) -> Result<(), StreamError> {
    let work = async {
        let mut source = from.acquire().await?.detach();
        slot::drop_if_there(&mut source, &stream.slot).await?;
        let name = crate::projection::legal(&stream.publication).quoted();
        // One that the tables' owner has made is the owner's.
        let owned: bool = sqlx::query_scalar(
            "select exists (select from pg_publication where pubname = $1 and pg_has_role(pubowner, 'USAGE'))",
        )
        .bind(&stream.publication)
        .fetch_one(&mut source)
        .await?;
        if owned {
            sqlx::query(AssertSqlSafe(format!("DROP PUBLICATION IF EXISTS {name}"))).execute(&mut source).await?;
        }
        source.close().await?;
        let mut target = to.acquire().await?;
        slot::drop_origins(&mut target, &stream.slot).await?;
        ledger::forget(&mut target, &stream.slice, stream.direction).await
    };
    work.await.map_err(StreamError::database("end the stream"))
}

/// The name of the replication origin under which a lane of a stream writes. A name is all that the
/// stream of the opposite direction sees of a change's author.
fn origin_name(slot: &str, lane: usize) -> String {
    format!("{slot}_{lane}")
}

fn unknown(slice: &str) -> StreamError {
    StreamError::Unknown { slice: slice.to_owned() }
}
