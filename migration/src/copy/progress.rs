use std::time::Duration;

use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use super::ledger::Totals;

/// How far a copy is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Parts of tables that are there.
    pub chunks_done: u64,
    /// All of them.
    pub chunks: u64,
    /// Rows that were sent, of this run and earlier ones.
    pub rows: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Bytes that this run sent.
    pub bytes_of_this_run: u64,
    /// Parts that this run copied.
    pub chunks_of_this_run: u64,
    /// How long this run takes already, in milliseconds.
    pub elapsed_ms: u64,
    /// Indexes and constraints that are there.
    pub definitions_done: u64,
    /// All of them.
    pub definitions: u64,
}

impl Progress {
    /// Of this run so far; 0 in its first millisecond.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        self.bytes_of_this_run.saturating_mul(1000).checked_div(self.elapsed_ms).unwrap_or(0)
    }

    /// As long as the rest takes if it goes on like this; none before the first part is done.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let rest = self.chunks.saturating_sub(self.chunks_done);
        let left_ms = self.elapsed_ms.saturating_mul(rest).checked_div(self.chunks_of_this_run)?;
        Some(Duration::from_millis(left_ms))
    }
}

/// Keeps the progress of one run, for whoever watches.
#[derive(Debug)]
pub(crate) struct Meter {
    sender: watch::Sender<Progress>,
    begun: Instant,
}

impl Meter {
    pub(crate) fn begin(sender: watch::Sender<Progress>, before: &Totals) -> Self {
        sender.send_replace(Progress {
            chunks: before.chunks,
            chunks_done: before.done,
            rows: before.rows,
            bytes: before.bytes,
            ..Progress::default()
        });
        Self { sender, begun: Instant::now() }
    }

    /// Counts bytes on their way, and returns them.
    pub(crate) fn sent(&self, bytes: usize) -> u64 {
        let bytes = bytes as u64;
        self.change(|progress| {
            progress.bytes += bytes;
            progress.bytes_of_this_run += bytes;
        });
        bytes
    }

    pub(crate) fn chunk_done(&self, rows: u64) {
        self.change(|progress| {
            progress.chunks_done += 1;
            progress.chunks_of_this_run += 1;
            progress.rows += rows;
        });
    }

    pub(crate) fn chunks_of_this_run(&self) -> u64 {
        self.sender.borrow().chunks_of_this_run
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        let elapsed_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.sender.send_modify(|progress| {
            progress.elapsed_ms = elapsed_ms;
            change(progress);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_needs_something_to_go_by() {
        let begun = Progress { chunks: 10, chunks_done: 4, elapsed_ms: 10, ..Progress::default() };
        assert_eq!((begun.time_left(), begun.bytes_per_second()), (None, 0));
        let later =
            Progress { chunks_done: 6, chunks_of_this_run: 2, bytes_of_this_run: 500, elapsed_ms: 1000, ..begun };
        assert_eq!(later.time_left(), Some(Duration::from_secs(2)));
        assert_eq!(later.bytes_per_second(), 500);
    }
}
