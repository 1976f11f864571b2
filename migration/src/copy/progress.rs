use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use super::{Load, ledger::Totals};

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
    /// What the servers have to do, as far as it is limited.
    pub load: Load,
    /// Why no rows are sent at the moment; none while they are.
    pub paused: Option<String>,
    /// How long this run has waited for that altogether, in milliseconds.
    pub paused_ms: u64,
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
    /// Since when it waits.
    waits: Mutex<Option<Instant>>,
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
        Self { sender, begun: Instant::now(), waits: Mutex::new(None) }
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

    /// Counts no longer what will be sent once more.
    pub(crate) fn taken_back(&self, bytes: u64) {
        self.change(|progress| {
            progress.bytes -= bytes;
            progress.bytes_of_this_run -= bytes;
        });
    }

    pub(crate) fn chunk_done(&self, rows: u64) {
        self.change(|progress| {
            progress.chunks_done += 1;
            progress.chunks_of_this_run += 1;
            progress.rows += rows;
        });
    }

    /// What the servers have to do, and why rows have to wait for it, if they do.
    pub(crate) fn looked(&self, load: Load, paused: Option<String>) {
        let now = Instant::now();
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = waits.map_or(Duration::ZERO, |since| now - since);
        *waits = paused.is_some().then_some(now);
        self.change(|progress| {
            progress.paused_ms += u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            (progress.load, progress.paused) = (load, paused);
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
