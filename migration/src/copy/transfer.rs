//! Moves one chunk from one connection to another.

use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{
    chunk::{Chunk, Converting},
    ledger,
    lookout::Pace,
    progress::Meter,
    spelled::Misspelled,
};

/// Rows are sent on together until they are so many bytes: one message for each of them would cost
/// more than the rows do.
const BATCH_BYTES: usize = 256 << 10;

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
    source: &mut PgConnection,
    target: &mut PgConnection,
    chunk: &Chunk,
    lsn: &str,
    pace: &Pace,
    meter: &Meter,
) -> sqlx::Result<bool> {
    loop {
        match attempt(source, target, chunk, chunk.converting(), lsn, pace, meter).await? {
            Attempt::Done => return Ok(true),
            Attempt::WasDone => return Ok(false),
            Attempt::Misspelled => chunk.found_misspelled(),
        }
    }
}

async fn attempt(
    source: &mut PgConnection,
    target: &mut PgConnection,
    chunk: &Chunk,
    converting: Converting,
    lsn: &str,
    pace: &Pace,
    meter: &Meter,
) -> sqlx::Result<Attempt> {
    // While a server has too much to do, no scan is begun either.
    pace.pass(0).await;
    let mut transaction = target.begin().await?;
    if !ledger::claim(&mut transaction, chunk).await? {
        return Ok(Attempt::WasDone);
    }
    let (copy_out, copy_in) = (chunk.copy_out(converting), chunk.copy_in());
    let mut spelled = (converting == Converting::Here).then(|| chunk.spelled_rows());
    let mut rows_in = transaction.copy_in_raw(&copy_in).await?;
    let mut rows_out = source.copy_out_raw(&copy_out).await?;
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    let mut bytes = 0_u64;
    let mut readable = Ok(());
    while let Some(row) = rows_out.try_next().await? {
        match &mut spelled {
            Some(spelled) => readable = spelled.take(&row, &mut batch),
            None => batch.extend_from_slice(&row),
        }
        if readable.is_err() {
            break;
        }
        if batch.len() >= BATCH_BYTES {
            pace.pass(batch.len()).await;
            bytes += meter.sent(batch.len());
            rows_in.send(batch.as_slice()).await?;
            batch.clear();
            // One large row must not be paid for in memory until the end of the chunk.
            batch.shrink_to(BATCH_BYTES);
        }
    }
    if let Err(Misspelled) = readable.and_then(|()| spelled.as_ref().map_or(Ok(()), |spelled| spelled.end())) {
        meter.taken_back(bytes);
        rows_in.abort("a value is to be read by the source's server").await?;
        transaction.rollback().await?;
        // What is still on its way would be taken for the answer to the next statement.
        while rows_out.try_next().await?.is_some() {}
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
