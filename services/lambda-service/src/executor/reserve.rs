//! Interpreters that wait for functions that have no worker yet.
//!
//! One is taken by the first cold start whose function it fits, is that function's worker from then on, and is replaced
//! in the background. They are beside the pool's workers and not counted among them: an interpreter that waits has
//! seen no function, and costs its memory only.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use runtimes::RuntimesConfig;
use sandbox::{FunctionCode, Kind, Prewarmed, Sandbox};
use tokio::sync::Notify;

use crate::{config::PrewarmedList, metrics};

/// After a start that failed, and between looks at whether those that wait still live.
const PAUSE: Duration = Duration::from_secs(2);

/// The interpreters that wait.
#[derive(Debug, Default)]
pub struct Reserve {
    shelves: Vec<Shelf>,
    /// Rung when one was taken.
    taken: Notify,
}

/// Those of one kind.
#[derive(Debug)]
struct Shelf {
    kind: Kind,
    count: usize,
    waiting: Mutex<VecDeque<Prewarmed>>,
}

impl Reserve {
    /// What the settings ask for; nothing waits yet.
    #[must_use]
    pub fn new(wanted: &PrewarmedList, runtimes: &RuntimesConfig) -> Self {
        let mut shelves: Vec<Shelf> = Vec::new();
        for entry in &wanted.0 {
            let Ok(runtime) = runtimes.find(&entry.runtime) else { continue };
            let kind = Kind {
                language: runtime.language,
                interpreter: runtime.interpreter.map(Into::into),
                memory_bytes: u64::from(entry.memory) << 20,
            };
            match shelves.iter_mut().find(|shelf| shelf.kind == kind) {
                Some(shelf) => shelf.count += entry.count,
                None => shelves.push(Shelf { kind, count: entry.count, waiting: Mutex::default() }),
            }
        }
        Self { shelves, taken: Notify::new() }
    }

    /// One that waits and fits, if there is any.
    pub(super) fn take(&self, function: &FunctionCode) -> Option<Prewarmed> {
        let kind = Kind::of(function)?;
        let shelf = self.shelves.iter().find(|shelf| shelf.kind == kind)?;
        let taken = shelf.take(function);
        metrics::prewarmed(if taken.is_some() { "hit" } else { "miss" });
        self.taken.notify_one();
        taken
    }

    /// Keeps as many waiting as there should be, for as long as it is polled.
    pub async fn keep(&self, sandbox: &Sandbox) {
        loop {
            let mut all_well = true;
            for shelf in &self.shelves {
                all_well &= shelf.fill(sandbox).await;
            }
            if all_well {
                // Looked at now and then all the same: the kernel may have been short of memory.
                let _ = tokio::time::timeout(PAUSE, self.taken.notified()).await;
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Ends all that wait.
    pub fn close(&self) {
        for shelf in &self.shelves {
            shelf.lock().clear();
        }
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Prewarmed>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that has waited longest and still lives.
    fn take(&self, function: &FunctionCode) -> Option<Prewarmed> {
        let mut waiting = self.lock();
        waiting.retain_mut(Prewarmed::is_alive);
        let fits = waiting.front().is_some_and(|first| first.fits(function));
        if fits { waiting.pop_front() } else { None }
    }

    /// Starts what is missing, one at a time. False when that failed.
    async fn fill(&self, sandbox: &Sandbox) -> bool {
        self.lock().retain_mut(Prewarmed::is_alive);
        while self.lock().len() < self.count {
            match sandbox.prewarm(&self.kind).await {
                Ok(prewarmed) => self.lock().push_back(prewarmed),
                Err(error) => {
                    tracing::warn!(%error, language = %self.kind.language, "no interpreter could be started ahead");
                    return false;
                }
            }
        }
        true
    }
}
