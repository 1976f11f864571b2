//! Moves one chunk from one connection to another.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

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
    target: &mut PgConnection,
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
    target: &mut PgConnection,
    chunk: &Chunk,
    converting: Converting,
    lsn: &str,
    pace: &Pace,
    meter: &Meter,
) -> Result<Attempt, TransferError> {
    // While a server has too much to do, no scan is begun either.
    pace.pass(0).await;
    let mut transaction = target.begin().await?;
    if !ledger::claim(&mut transaction, chunk).await? {
        return Ok(Attempt::WasDone);
    }
    let (copy_out, copy_in) = (chunk.copy_out(converting), chunk.copy_in());
    let mut spelled = (converting == Converting::Here).then(|| chunk.spelled_rows());
    let mut rows_in = transaction.copy_in_raw(&copy_in).await?;
    source.copy_out(&copy_out).await?;
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
            .await?;
        if batch.len() >= BATCH_BYTES && readable.is_ok() {
            pace.pass(batch.len()).await;
            bytes += meter.sent(batch.len());
            rows_in.send(batch.as_slice()).await?;
            batch.clear();
            // One large row must not be paid for in memory until the end of the chunk.
            batch.shrink_to(BATCH_ROOM);
        }
    }
    if let Err(Misspelled) = readable.and_then(|()| spelled.as_ref().map_or(Ok(()), |spelled| spelled.end())) {
        meter.taken_back(bytes);
        rows_in.abort("a value is to be read by the source's server").await?;
        transaction.rollback().await?;
        // What is still on its way would be taken for the answer to the next statement.
        while !ended {
            ended = source.copied(|_| {}).await?;
        }
        return Ok(Attempt::Misspelled);
    }
    pace.pass(batch.len()).await;
    bytes += meter.sent(batch.len());
    rows_in.send(batch.as_slice()).await?;
    let rows = rows_in.finish().await?;
    ledger::mark_done(&mut transaction, chunk, lsn, rows, bytes).await?;
    transaction.commit().await?;
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
