//! How far the streams of a slice are, put together from both databases.

use serde::Serialize;
use sqlx::PgPool;

use super::{Direction, SlotState, StreamError, find, ledger::Stream, slot_state};
use crate::copy::{Totals, totals};

/// One stream with all that its two databases say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// What the database that is written has.
    #[serde(flatten)]
    pub stream: Stream,
    /// What the database that changes come from has; none when the slot is gone.
    pub slot: Option<SlotState>,
    /// Log between where the source writes now and what is applied, in bytes. Other tables' changes
    /// count as well until they have been passed over.
    pub lag_bytes: Option<u64>,
    /// The copy's rows, for a forward stream.
    pub copy: Option<Totals>,
}

/// The streams of a slice that have begun, forward first.
///
/// # Errors
/// A database cannot be read.
pub async fn status(source: &PgPool, target: &PgPool, slice: &str) -> Result<Vec<Status>, StreamError> {
    let mut found = Vec::new();
    for direction in [Direction::Forward, Direction::Reverse] {
        let (from, to) = direction.ends(source, target);
        let Some(stream) = find(to, slice, direction).await? else { continue };
        let slot = slot_state(from, &stream).await?;
        let copy = match direction {
            Direction::Forward => {
                totals(to, slice).await.map_err(StreamError::database("read the ledger of copies"))?
            }
            Direction::Reverse => None,
        };
        let lag_bytes = slot.as_ref().zip(stream.applied_lsn).map(|(slot, applied)| slot.current_lsn.since(applied));
        found.push(Status { stream, slot, lag_bytes, copy });
    }
    Ok(found)
}
