//! The history of executions: written in batches, off the request path, and not lost.
//!
//! 1. Before a call runs it takes a [`Permit`]: room for its row. When the database has been away
//!    for so long that `max_pending` rows or `journal_max` bytes wait, there is none, and the call
//!    is refused with 503 rather than run without a history.
//! 2. Before its answer leaves, the row is in the `journal`, which outlives the process.
//! 3. The writer task puts waiting rows into the database, one statement per batch, when a batch is
//!    full or the oldest row has waited for the linger time. A failed batch is tried again with
//!    backoff, in order, for as long as it takes. Rows of functions that are deleted meanwhile go
//!    with the function, as they would have by the foreign key's cascade.
//! 4. A clean stop writes everything; after any other stop, the next start reads the journal back.
//!
//! A row is in the database at least once by the journal and at most once by its id.

mod journal;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use domain::{ExecutionId, ExecutionStatus, FunctionId};
pub use journal::JournalError;
use journal::{Journal, SegmentId};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
pub use writer::{Sink, SinkError};

use crate::metrics;

/// The longest error text in the history, in characters; what is longer is cut. It bounds a row,
/// and with it the journal.
const MAX_ERROR_CHARS: usize = 4_096;

/// One execution, as its row says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Id of the execution.
    pub id: ExecutionId,
    /// Whose execution it was.
    pub function_id: FunctionId,
    /// How it ended.
    pub status: ExecutionStatus,
    /// Whether a worker was there.
    pub is_warm_start: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// The most memory it used, in bytes.
    pub memory_used_bytes: i64,
    /// Why it failed.
    pub error_message: Option<String>,
    /// When it started.
    pub created_at: DateTime<Utc>,
}

impl Record {
    /// Makes the text fit for a row: PostgreSQL's text holds no NUL.
    fn fit(mut self) -> Self {
        if let Some(text) = &mut self.error_message {
            if text.contains('\0') {
                *text = text.replace('\0', "\u{fffd}");
            }
            if let Some((end, _)) = text.char_indices().nth(MAX_ERROR_CHARS) {
                text.truncate(end);
            }
        }
        self
    }
}

/// How the recorder behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the journal; no other process may use it.
    pub journal: PathBuf,
    /// A segment of the journal is closed at this size, in bytes.
    pub segment_bytes: u64,
    /// The journal takes no more calls when it holds this much, in bytes.
    pub journal_max_bytes: u64,
    /// Most rows that wait for the database, calls under way included.
    pub max_pending: usize,
    /// Most rows in one statement.
    pub batch_rows: usize,
    /// The longest a row waits for its batch to fill.
    pub linger: Duration,
}

/// Why a row was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Too much waits for the database.
    #[error("the history is full: the database has been away for too long")]
    Full,
    /// The journal could not be written, and the database did not take the row either.
    #[error("the execution could be written neither to the journal nor to the database")]
    NotDurable,
}

#[derive(Debug)]
struct Pending {
    record: Record,
    /// `None` when the journal refused it: then the caller waits for the database.
    segment: Option<SegmentId>,
}

#[derive(Debug)]
struct Queue {
    journal: Journal,
    rows: VecDeque<Pending>,
    /// Room taken by calls under way.
    reserved: usize,
    /// Rows that came so far, in the order of `rows`.
    accepted: u64,
    closing: bool,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    queue: Mutex<Queue>,
    arrived: Notify,
    /// How many of the accepted rows are done with.
    settled: watch::Sender<u64>,
    /// Cancelled when the writer is to stop though rows wait.
    stop: CancellationToken,
}

/// The front of the recorder. Clones share one.
#[derive(Debug, Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

/// Room for one row.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    is_taken: bool,
}

impl Recorder {
    /// Opens the journal; what an earlier process left there is written first. The rows go nowhere
    /// until [`Recorder::run`] does.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(settings: Settings) -> Result<Self, JournalError> {
        let (journal, replay) = Journal::open(&settings.journal, settings.segment_bytes)?;
        if !replay.records.is_empty() || replay.damaged_lines > 0 {
            tracing::info!(
                rows = replay.records.len(),
                damaged_lines = replay.damaged_lines,
                cut_tails = replay.cut_tails,
                "the journal of an earlier process is read back"
            );
        }
        let rows: VecDeque<_> =
            replay.records.into_iter().map(|(segment, record)| Pending { record, segment: Some(segment) }).collect();
        metrics::recorder_pending(rows.len());
        let accepted = rows.len() as u64;
        let queue = Queue { journal, rows, reserved: 0, accepted, closing: false };
        Ok(Self {
            shared: Arc::new(Shared {
                settings,
                queue: Mutex::new(queue),
                arrived: Notify::new(),
                settled: watch::Sender::new(0),
                stop: CancellationToken::new(),
            }),
        })
    }

    /// Room for the row of one call, asked for before the call runs.
    ///
    /// # Errors
    /// [`RecordError::Full`].
    pub fn permit(&self) -> Result<Permit, RecordError> {
        let mut queue = self.shared.lock();
        let settings = &self.shared.settings;
        if queue.rows.len() + queue.reserved >= settings.max_pending
            || queue.journal.bytes() >= settings.journal_max_bytes
        {
            return Err(RecordError::Full);
        }
        queue.reserved += 1;
        Ok(Permit { shared: Arc::clone(&self.shared), is_taken: false })
    }

    /// Waits until every row that was recorded before this call is in the database.
    ///
    /// # Errors
    /// [`RecordError::NotDurable`] when that takes longer than `deadline`.
    pub async fn flush(&self, deadline: Duration) -> Result<(), RecordError> {
        let through = self.shared.lock().accepted;
        self.shared.arrived.notify_one();
        self.shared.wait_for(through, deadline).await
    }
}

impl Permit {
    /// Writes the row to the journal and leaves it to the writer. When this returns, the row
    /// outlives the process.
    ///
    /// # Errors
    /// [`RecordError::NotDurable`] when the journal refused and the database did not take the row
    /// within `deadline`. The row is still waiting then.
    pub async fn record(self, record: Record, deadline: Duration) -> Result<(), RecordError> {
        let shared = Arc::clone(&self.shared);
        match self.enqueue(record) {
            (_, Ok(())) => Ok(()),
            (through, Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the journal refused a row");
                metrics::journal_failed();
                shared.wait_for(through, deadline).await
            }
        }
    }

    /// As [`Permit::record`] for a call whose client left: nobody waits, so nothing is awaited.
    pub fn record_unanswered(self, record: Record) {
        if let (_, Err(error)) = self.enqueue(record) {
            tracing::error!(error = &error as &dyn std::error::Error, "the journal refused a row");
            metrics::journal_failed();
        }
    }

    fn enqueue(mut self, record: Record) -> (u64, Result<(), JournalError>) {
        let record = record.fit();
        let mut queue = self.shared.lock();
        let appended = queue.journal.append(&record);
        let (segment, result) = match appended {
            Ok(segment) => (Some(segment), Ok(())),
            Err(error) => (None, Err(error)),
        };
        queue.rows.push_back(Pending { record, segment });
        queue.reserved -= 1;
        queue.accepted += 1;
        self.is_taken = true;
        let accepted = queue.accepted;
        let waiting = queue.rows.len();
        drop(queue);
        metrics::recorder_pending(waiting);
        // The writer sleeps only when there is nothing, or until a batch is full or has lingered.
        if waiting == 1 || waiting == self.shared.settings.batch_rows || result.is_err() {
            self.shared.arrived.notify_one();
        }
        (accepted, result)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_taken {
            self.shared.lock().reserved -= 1;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_for(&self, through: u64, deadline: Duration) -> Result<(), RecordError> {
        let mut settled = self.settled.subscribe();
        let done = settled.wait_for(|settled| *settled >= through);
        match tokio::time::timeout(deadline, done).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(RecordError::NotDurable),
        }
    }
}
