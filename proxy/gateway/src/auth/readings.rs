//! How the readings of one source of keys went: told apart, counted, and logged once.

use std::{
    error::Error,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::Utc;
use sha2::{Digest as _, Sha256};

use super::metrics::SourceMetrics;
use crate::control::chain;

/// The readings of one source.
pub(super) struct Readings {
    source: String,
    /// The hash of the document whose keys are in force.
    adopted: Mutex<Option<[u8; 32]>>,
    /// What is wrong with the source now, as it was logged.
    trouble: Mutex<Option<String>>,
    metrics: SourceMetrics,
}

impl Readings {
    /// Of the source that log and metrics call this.
    pub(super) fn new(source: &str, metrics: SourceMetrics) -> Self {
        Self { source: source.to_owned(), adopted: Mutex::default(), trouble: Mutex::default(), metrics }
    }

    /// Puts a document in force, unless it is the one that is. `put_in_force` says how many keys it
    /// has.
    pub(super) fn adopt<E>(&self, document: &[u8], put_in_force: impl FnOnce() -> Result<usize, E>) -> Result<(), E> {
        let hash: [u8; 32] = Sha256::digest(document).into();
        let mut adopted = locked(&self.adopted);
        if *adopted != Some(hash) {
            let keys = put_in_force()?;
            *adopted = Some(hash);
            tracing::info!(source = %self.source, keys, "keys are in force");
            self.metrics.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        }
        self.metrics.confirmed.set(Utc::now().timestamp());
        Ok(())
    }

    /// Counts a reading, and logs what is wrong with it unless it was wrong before.
    pub(super) fn note<T>(&self, reading: &Result<T, impl Error>) {
        let problem = reading.as_ref().err().map(|problem| chain(problem));
        let outcome = if problem.is_none() { &self.metrics.read } else { &self.metrics.failed };
        outcome.inc();
        let mut trouble = locked(&self.trouble);
        match &problem {
            Some(problem) if trouble.as_ref() != Some(problem) => {
                tracing::warn!(source = %self.source, %problem, "keys cannot be read; those in force stay");
            }
            None if trouble.is_some() => tracing::info!(source = %self.source, "keys can be read again"),
            _ => {}
        }
        *trouble = problem;
    }
}

/// What is behind these locks is replaced as a whole, so a panic leaves nothing half done.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
