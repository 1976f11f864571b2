//! Interpreters that wait for functions that have no worker yet.
//!
//! One is taken by the first cold start whose function it fits, is that function's worker from then on, and is replaced
//! in the background. They are beside the pool's workers and not counted among them: an interpreter that waits has
//! seen no function, and costs its memory only.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use runtimes::{RuntimeSpec, RuntimesConfig};
use tokio::sync::Notify;

use super::StartError;
use crate::{config::PrewarmedList, metrics};

/// After a start that failed, and between looks at whether those that wait still live.
const PAUSE: Duration = Duration::from_secs(2);

/// What starts interpreters with nothing loaded. One that is dropped ends.
pub trait Starter: Send + Sync + 'static {
    /// What an interpreter can be used for.
    type Kind: PartialEq + fmt::Debug + Send + Sync;
    /// An interpreter that waits.
    type Waiting: Send;

    /// Starts one.
    fn prewarm(&self, kind: &Self::Kind) -> impl Future<Output = Result<Self::Waiting, StartError>> + Send;

    /// Whether it still lives.
    fn is_alive(waiting: &mut Self::Waiting) -> bool;
}

/// The interpreters that wait.
pub struct Reserve<S: Starter> {
    shelves: Vec<Shelf<S>>,
    /// Rung when one was taken.
    taken: Notify,
}

/// Those of one kind.
struct Shelf<S: Starter> {
    kind: S::Kind,
    count: usize,
    waiting: Mutex<VecDeque<S::Waiting>>,
    /// Whether the last attempt to start one failed, so that this is said once and not at each attempt.
    fails: AtomicBool,
}

impl<S: Starter> Reserve<S> {
    /// What the settings ask for; nothing waits yet. `kind_of` says what is made for a runtime's functions of so many bytes
    /// of memory.
    #[must_use]
    pub fn new(
        wanted: &PrewarmedList,
        runtimes: &RuntimesConfig,
        kind_of: impl Fn(RuntimeSpec, u64) -> Option<S::Kind>,
    ) -> Self {
        let mut shelves: Vec<Shelf<S>> = Vec::new();
        for entry in &wanted.0 {
            let Ok(runtime) = runtimes.find(&entry.runtime) else { continue };
            let Some(kind) = kind_of(runtime, u64::from(entry.memory) << 20) else { continue };
            match shelves.iter_mut().find(|shelf| shelf.kind == kind) {
                Some(shelf) => shelf.count += entry.count,
                None => shelves.push(Shelf {
                    kind,
                    count: entry.count,
                    waiting: Mutex::default(),
                    fails: AtomicBool::new(false),
                }),
            }
        }
        Self { shelves, taken: Notify::new() }
    }

    /// One that waits and fits, if there is any.
    pub(super) fn take(&self, kind: &S::Kind, fits: impl Fn(&S::Waiting) -> bool) -> Option<S::Waiting> {
        let shelf = self.shelves.iter().find(|shelf| shelf.kind == *kind)?;
        let taken = shelf.take(fits);
        metrics::prewarmed(if taken.is_some() { "hit" } else { "miss" });
        self.taken.notify_one();
        taken
    }

    /// Keeps as many waiting as there should be, for as long as it is polled.
    pub async fn keep(&self, starter: &S) {
        loop {
            let mut all_well = true;
            for shelf in &self.shelves {
                all_well &= shelf.fill(starter).await;
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

impl<S: Starter> Shelf<S> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<S::Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that has waited longest and still lives.
    fn take(&self, fits: impl Fn(&S::Waiting) -> bool) -> Option<S::Waiting> {
        let mut waiting = self.lock();
        waiting.retain_mut(S::is_alive);
        if waiting.front().is_some_and(fits) { waiting.pop_front() } else { None }
    }

    /// Starts what is missing, one at a time. False when that failed.
    async fn fill(&self, starter: &S) -> bool {
        self.lock().retain_mut(S::is_alive);
        while self.lock().len() < self.count {
            match starter.prewarm(&self.kind).await {
                Ok(prewarmed) => {
                    self.fails.store(false, Ordering::Relaxed);
                    self.lock().push_back(prewarmed);
                }
                Err(error) => {
                    if !self.fails.swap(true, Ordering::Relaxed) {
                        let error: &dyn std::error::Error = &error;
                        tracing::warn!(error, kind = ?self.kind, "no interpreter could be started ahead");
                    }
                    return false;
                }
            }
        }
        true
    }
}
