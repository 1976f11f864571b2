//! Moves one chunk from one connection to another.

use sqlx::AssertSqlSafe;

use super::{
    TransferError,
    chunk::{Chunk, Converting},
    ledger,
    lookout::Pace,
    progress::Meter,
    spelled::Misspelled,
};
use crate::link::Session;

/// Rows are sent on together until they are so many bytes: one message for each of them would cost
/// more than the rows do.
const BATCH_BYTES: usize = 256 << 10;

/// Room for a batch and the row that makes it full, so that it seldom grows.
const BATCH_ROOM: usize = 2 * BATCH_BYTES;

/// What one attempt at a chunk came to.
enum Attempt {
    Done,
    /// Somebody else was first.
    WasDone,
    /// A value came that only the server may judge. Nothing was changed.
    Misspelled,
}

/// Copies a chunk and marks it as done, in one transaction of the target. `false` when it was done
/// already.
pub(super) async fn transfer(
    source: &mut Session,
    target: &mut Session,
    chunk: &Chunk,
    lsn: &str,
    pace: &Pace,
    meter: &Meter,
) -> Result<bool, TransferError> {
    loop {
        match attempt(source, target, chunk, chunk.converting(), lsn, pace, meter).await? {
            Attempt::Done => return Ok(true),
            Attempt::WasDone => return Ok(false),
            Attempt::Misspelled => chunk.found_misspelled(),
        }
    }
}

async fn attempt(
    source: &mut Session,
    target: &mut Session,
    chunk: &Chunk,
    converting: Converting,
    lsn: &str,
    pace: &Pace,
    meter: &Meter,
) -> Result<Attempt, TransferError> {
    // While a server has too much to do, no scan is begun either.
    pace.pass(0).await;
    if !ledger::begin_chunk(target, chunk).await.map_err(TransferError::Target)? {
        return Ok(Attempt::WasDone);
    }
    let (copy_out, copy_in) = (chunk.copy_out(converting), chunk.copy_in());
    let mut spelled = (converting == Converting::Here).then(|| chunk.spelled_rows());
    target.copy_in(&copy_in).await.map_err(TransferError::Target)?;
    source.copy_out(&copy_out).await.map_err(TransferError::Source)?;
    let mut batch = Vec::with_capacity(BATCH_ROOM);
    let mut bytes = 0_u64;
    let mut readable = Ok(());
    let mut ended = false;
    while !ended && readable.is_ok() {
        ended = source
            .copied(|row| match &mut spelled {
                Some(spelled) if readable.is_ok() => readable = spelled.take(row, &mut batch),
                Some(_) => {}
                None => batch.extend_from_slice(row),
            })
            .await
            .map_err(TransferError::Source)?;
        if (ended || batch.len() >= BATCH_BYTES) && readable.is_ok() {
            pace.pass(batch.len()).await;
            bytes += meter.sent(batch.len());
            target.copy_rows(&batch).await.map_err(TransferError::Target)?;
            batch.clear();
            // One large row must not be paid for in memory until the end of the chunk.
            batch.shrink_to(BATCH_ROOM);
        }
    }
    if let Err(Misspelled) = readable.and_then(|()| spelled.as_ref().map_or(Ok(()), |spelled| spelled.end())) {
        meter.taken_back(bytes);
        let why = "a value is to be read by the source's server";
        target.give_up(why).await.map_err(TransferError::Target)?;
        target.query("ROLLBACK").await.map_err(TransferError::Target)?;
        // What is still on its way would be taken for the answer to the next statement.
        while !ended {
            ended = source.copied(|_| {}).await.map_err(TransferError::Source)?;
        }
        return Ok(Attempt::Misspelled);
    }
    let rows = target.copied_in().await.map_err(TransferError::Target)?;
    ledger::end_chunk(target, chunk, lsn, rows, bytes).await.map_err(TransferError::Target)?;
    meter.chunk_done(rows);
    Ok(Attempt::Done)
}

/// Lets a connection see the source as it was at the snapshot.
pub(crate) fn begin_reading(snapshot: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
        crate::identifier::literal(snapshot)
    ))
}
