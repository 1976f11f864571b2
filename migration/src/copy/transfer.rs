//! Moves one chunk from one connection to another.

use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{chunk::Chunk, ledger, lookout::Pace, progress::Meter};

/// Rows are sent on together until they are so many bytes: one message for each of them would cost
/// more than the rows do.
const BATCH_BYTES: usize = 256 << 10;

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
    // While a server has too much to do, no scan is begun either.
    pace.pass(0).await;
    let mut transaction = target.begin().await?;
    if !ledger::claim(&mut transaction, chunk).await? {
        return Ok(false);
    }
    let (copy_out, copy_in) = (chunk.copy_out(), chunk.copy_in());
    let mut rows_in = transaction.copy_in_raw(&copy_in).await?;
    let mut rows_out = source.copy_out_raw(&copy_out).await?;
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    let mut bytes = 0_u64;
    while let Some(row) = rows_out.try_next().await? {
        batch.extend_from_slice(&row);
        if batch.len() >= BATCH_BYTES {
            pace.pass(batch.len()).await;
            bytes += meter.sent(batch.len());
            rows_in.send(batch.as_slice()).await?;
            batch.clear();
            // One large row must not be paid for in memory until the end of the chunk.
            batch.shrink_to(BATCH_BYTES);
        }
    }
    pace.pass(batch.len()).await;
    bytes += meter.sent(batch.len());
    rows_in.send(batch.as_slice()).await?;
    let rows = rows_in.finish().await?;
    ledger::mark_done(&mut transaction, chunk, lsn, rows, bytes).await?;
    transaction.commit().await?;
    meter.chunk_done(rows);
    Ok(true)
}

/// Lets a connection see the source as it was at the snapshot.
pub(crate) fn begin_reading(snapshot: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
        crate::identifier::literal(snapshot)
    ))
}
