//! The thread that the store belongs to.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::{ClusterCount, Mismatch, Store, metrics::StoreMetrics, mismatch::ClusterCounts};

/// How many mismatches are written at once.
const BATCH: usize = 64;
/// How long counts of clusters may wait, and how soon a store that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often what is over the bounds is removed.
const PRUNE_EVERY: Duration = Duration::from_secs(10);

/// Something that somebody wants from the store, answered on a channel of its own.
type Question = Box<dyn FnOnce(&mut dyn Store) + Send>;

pub(super) enum Task {
    Keep(Box<Mismatch>),
    Ask(Question),
    Stop,
}

pub(super) struct Keeper {
    store: Box<dyn Store>,
    /// Counted by those who find mismatches.
    found: Arc<Mutex<ClusterCounts>>,
    metrics: Arc<StoreMetrics>,
    /// What the store does not have yet.
    mismatches: Vec<Mismatch>,
    counts: ClusterCounts,
    most_waiting: usize,
    failed_at: Option<Instant>,
    pruned_at: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(
        store: Box<dyn Store>,
        found: Arc<Mutex<ClusterCounts>>,
        metrics: Arc<StoreMetrics>,
        most_waiting: usize,
    ) -> Self {
        let (mismatches, counts) = (Vec::new(), ClusterCounts::default());
        Self { store, found, metrics, mismatches, counts, most_waiting, failed_at: None, pruned_at: None }
    }

    pub(super) fn run(mut self, tasks: &Receiver<Task>) {
        loop {
            match tasks.recv_timeout(PAUSE) {
                Ok(task) => {
                    if self.take(task).is_break() {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.write(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // What waits is written together.
            while self.mismatches.len() < BATCH {
                let Ok(task) = tasks.try_recv() else { break };
                if self.take(task).is_break() {
                    return self.end();
                }
            }
            if !self.rests() {
                self.write();
            }
        }
        self.end();
    }

    fn take(&mut self, task: Task) -> std::ops::ControlFlow<()> {
        match task {
            Task::Keep(_) if self.mismatches.len() >= self.most_waiting => self.metrics.dropped.inc(),
            Task::Keep(mismatch) => self.mismatches.push(*mismatch),
            Task::Ask(question) => {
                // What was found before the question is part of the answer.
                if !self.rests() {
                    self.write();
                }
                question(self.store.as_mut());
            }
            Task::Stop => return std::ops::ControlFlow::Break(()),
        }
        std::ops::ControlFlow::Continue(())
    }

    /// Whether the store has failed a moment ago.
    fn rests(&self) -> bool {
        self.failed_at.is_some_and(|failed| failed.elapsed() < PAUSE)
    }

    fn write(&mut self) {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        found.into_iter().for_each(|counted| self.counts.add(counted));
        let counted: Vec<ClusterCount> = self.counts.all().to_vec();
        if !self.mismatches.is_empty() || !counted.is_empty() {
            match self.store.append(&self.mismatches, &counted) {
                Ok(()) => {
                    let stored = std::mem::take(&mut self.mismatches).len();
                    self.metrics.stored.inc_by(u64::try_from(stored).unwrap_or(u64::MAX));
                    self.counts.take();
                }
                Err(error) => return self.failed(&error),
            }
        }
        if self.pruned_at.is_none_or(|pruned| pruned.elapsed() >= PRUNE_EVERY) {
            self.pruned_at = Some(Instant::now());
            if let Err(error) = self.store.prune() {
                return self.failed(&error);
            }
        }
        if self.failed_at.take().is_some() {
            self.metrics.up.set(1);
            tracing::info!("mismatches are stored again");
        }
    }

    fn failed(&mut self, error: &super::StoreError) {
        if self.failed_at.replace(Instant::now()).is_none() {
            self.metrics.up.set(0);
            tracing::error!(%error, "mismatches are not stored; they are dropped once too many wait");
        }
    }

    fn end(mut self) {
        self.write();
        if !self.mismatches.is_empty() {
            tracing::warn!(lost = self.mismatches.len(), "mismatches were not stored before the end");
        }
    }
}
