//! The snapshot copy: the rows of a slice, as they were at one point, in the candidate's database.
//!
//! ```text
//!   source   COPY (SELECT transformed FROM table WHERE key in range) TO STDOUT ─┐  N readers, one
//!            … SET TRANSACTION SNAPSHOT                                         │  exported snapshot
//!   target   BEGIN; COPY table FROM STDIN ◄─────────────────────────────────────┘
//!            chunk marked as done; COMMIT
//! ```
//!
//! [`prepare`] makes what the target does not have; [`run`] copies what is not copied yet;
//! [`finish`] makes indexes and foreign keys. Each may be called again after a kill.
//!
//! | what can happen | what it comes to |
//! |---|---|
//! | killed between chunks or inside of one | chunks that are done are not copied again; the rest is copied from the snapshot that is handed in next |
//! | killed while a commit is under way | the next run waits for the chunk's row and sees what became of it |
//! | the snapshot is gone | a later one serves: see below |
//! | two copies of one slice at once | the second is refused |
//! | a value that the target refuses | the chunk fails with PostgreSQL's reason, and nothing of it stays |
//! | text that is to be a `uuid` | is read here, as it passes; from the first in an unusual form on, by the source's server |
//! | a server has more to do than [`LoadLimits`] allow | nothing is read or sent until it has less; [`Progress::paused`] says why |
//! | a row of a gigabyte | is held once by one reader; nothing else grows with the table |
//!
//! # When a snapshot is gone
//! A snapshot lives as long as who exported it. After a kill the unfinished chunks come from a later
//! one, so the tables are a mixture of two points, and [`Outcome::consistent_lsn`] is the later. Keys
//! part the chunks, so that no row is there twice and none is left out that did not change in between;
//! whoever applies the changes since the *first* point brings all rows to one again, as long as each
//! change is applied by key and however often. Until `consistent_lsn` has been applied, unique
//! indexes may not hold, which is why they are made afterwards.

mod chunk;
mod deferred;
mod definition;
mod error;
mod ledger;
mod load;
mod lookout;
mod outline;
mod progress;
mod schema;
mod sequence;
mod snapshot;
mod spelled;
mod throttle;
mod transfer;
mod worker;

use std::time::Duration;

pub(crate) use definition::future_keys;
pub use error::{CopyError, TransferError};
pub use ledger::Totals;
pub(crate) use ledger::points;
pub use load::{Load, LoadLimits};
pub use progress::Progress;
pub use schema::prepare;
pub use sequence::set_sequences;
pub use snapshot::{ExportedSnapshot, Snapshot};
use sqlx::PgPool;
pub(crate) use throttle::Throttle;
use tokio::sync::watch;
pub(crate) use transfer::begin_reading;
pub use worker::run;

use crate::slice::SlicePlan;

/// What the sessions of a copy call themselves, so that their own load can be told from others'.
const NAME: &str = "strangler copy";

/// How a copy goes about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Connections that read the source, and as many that write the target; at least 1.
    pub readers: usize,
    /// How much of a table one chunk takes, in bytes on the source's disk.
    pub chunk_bytes: u64,
    /// At most so many bytes a second, of all readers together; no limit when it is none.
    pub bytes_per_second: Option<u64>,
    /// What the servers may have to do at most while rows are sent.
    pub load: LoadLimits,
    /// Indexes and constraints that are made at once; at least 1.
    pub builders: usize,
    /// What the target's server may hold in memory for each of them while it is made. Not less than its own
    /// `maintenance_work_mem`, whose default of 64 MB makes it sort a table of some million rows on the disk.
    pub index_memory_bytes: u64,
    /// How long to wait for a copy that was killed to be noticed by the server.
    pub other_copy: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            readers: 4,
            chunk_bytes: 64 << 20,
            bytes_per_second: None,
            load: LoadLimits::default(),
            builders: 2,
            index_memory_bytes: 512 << 20,
            other_copy: Duration::from_secs(30),
        }
    }
}

/// What a copy has done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// Rows that are there, of this run and earlier ones.
    pub rows: u64,
    /// Bytes that were sent for them.
    pub bytes: u64,
    /// Chunks that this run copied.
    pub copied_chunks: u64,
    /// The earliest point that a row was read at; the same as the latest unless the copy was
    /// interrupted.
    pub earliest_lsn: String,
    /// The latest point that a row was read at.
    pub consistent_lsn: String,
}

/// Makes the indexes, constraints and foreign keys that [`prepare`] put off, several at once, and
/// sets the sequences. What is there already is left alone.
pub async fn finish(
    source: &PgPool,
    target: &PgPool,
    plan: &SlicePlan,
    settings: &Settings,
    progress: &watch::Sender<Progress>,
) -> Result<(), CopyError> {
    deferred::make(target, plan, settings, progress).await?;
    set_sequences(source, target, plan).await
}

/// Forgets what was copied, and empties the target's tables: the way back to the beginning.
pub async fn forget(target: &PgPool, plan: &SlicePlan) -> Result<(), CopyError> {
    ledger::forget(target, plan).await
}

/// What has been copied of a slice; none when nothing was ever begun.
pub(crate) async fn totals(target: &PgPool, slice: &str) -> sqlx::Result<Option<Totals>> {
    let mut connection = target.acquire().await?;
    if !ledger::is_there(&mut connection).await? {
        return Ok(None);
    }
    ledger::totals(&mut connection, slice).await.map(Some)
}
