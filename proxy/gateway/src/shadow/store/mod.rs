//! The mismatches that are kept, for people to look at.
//!
//! A mismatch is redacted where it is found, on the threads of shadowing, and handed to one thread of this
//! store over a queue that never waits: what does not fit is dropped and counted. How often each cluster was
//! seen is counted in any case, also for what is dropped here. The thread writes batches, answers the admin
//! API's questions, and keeps number, bytes and age within bounds.

mod embedded;
mod keeper;
mod metrics;
mod mismatch;
mod postgres;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use prometheus::Registry;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    config::{MismatchStore, MismatchesConfig, PostgresConfig},
    run::RunError,
};
use embedded::EmbeddedStore;
use keeper::{Keeper, Task};
use metrics::StoreMetrics;
use mismatch::ClusterCounts;
pub(crate) use mismatch::{ClusterCount, Evidence, Mismatch, Summary};
use postgres::PostgresMismatches;

/// What keeps mismatches. Only one thread uses it.
///
/// `append` is all or nothing, and may be repeated with the same mismatches after a failure: their ids tell
/// that they are there. `prune` removes the oldest until the bounds hold. Reading shows what was appended.
pub(crate) trait Store: Send {
    /// Keeps mismatches, and adds to the counts of clusters.
    fn append(&mut self, mismatches: &[Mismatch], counted: &[ClusterCount]) -> Result<(), StoreError>;
    /// Removes what is over the bounds.
    fn prune(&mut self) -> Result<(), StoreError>;
    /// One mismatch.
    fn get(&mut self, id: Uuid) -> Result<Option<Mismatch>, StoreError>;
    /// The latest ones, the latest first.
    fn latest(&mut self, route: Option<&str>, limit: usize) -> Result<Vec<Summary>, StoreError>;
    /// All clusters that are known.
    fn clusters(&mut self) -> Result<Vec<ClusterCount>, StoreError>;
}

/// Why mismatches cannot be kept or shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The disk does not want to.
    #[error("the folder of mismatches: {0}")]
    Disk(#[from] io::Error),
    /// The database does not want to, or is away.
    #[error("the database of mismatches: {0}")]
    Database(String),
    /// Too much is waiting for the store.
    #[error("the store of mismatches is busy; ask again")]
    Busy,
    /// The gateway is stopping.
    #[error("the store of mismatches has ended")]
    Ended,
}

/// The store, for those who find mismatches and those who look at them.
pub(crate) struct Mismatches {
    queue: SyncSender<Task>,
    unsaved: Arc<Mutex<ClusterCounts>>,
    metrics: Arc<StoreMetrics>,
    body_limit: usize,
    kind: MismatchStore,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Mismatches {
    /// Opens the store and starts its thread. A database need not answer yet.
    ///
    /// # Errors
    /// When the folder cannot be used, the thread not be had, or there are metrics of these names already.
    pub(crate) fn start(
        config: &MismatchesConfig,
        database: &PostgresConfig,
        registry: &Registry,
    ) -> Result<Self, RunError> {
        let metrics = Arc::new(StoreMetrics::register(registry)?);
        let store: Box<dyn Store> = match config.store {
            MismatchStore::Embedded => Box::new(EmbeddedStore::open(config)?),
            MismatchStore::Postgres => Box::new(PostgresMismatches::new(config, database)?),
        };
        let (queue, tasks) = sync_channel(config.queue);
        let unsaved: Arc<Mutex<ClusterCounts>> = Arc::default();
        let keeper = Keeper::new(store, unsaved.clone(), metrics.clone(), config.queue);
        let thread = std::thread::Builder::new().name("mismatches".to_owned()).spawn(move || keeper.run(&tasks))?;
        Ok(Self {
            queue,
            unsaved,
            metrics,
            body_limit: config.body_limit.as_usize(),
            kind: config.store,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// How much of a body is kept, in bytes.
    pub(crate) fn body_limit(&self) -> usize {
        self.body_limit
    }

    pub(crate) fn kind(&self) -> MismatchStore {
        self.kind
    }

    /// Keeps a mismatch if there is room. Never waits.
    pub(crate) fn keep(&self, mismatch: Mismatch) {
        let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        ClusterCount::of(&mismatch).for_each(|counted| unsaved.add(counted));
        drop(unsaved);
        if self.queue.try_send(Task::Keep(Box::new(mismatch))).is_err() {
            self.metrics.dropped.inc();
        }
    }

    pub(crate) async fn get(&self, id: Uuid) -> Result<Option<Mismatch>, StoreError> {
        self.ask(move |store| store.get(id)).await
    }

    pub(crate) async fn latest(&self, route: Option<String>, limit: usize) -> Result<Vec<Summary>, StoreError> {
        self.ask(move |store| store.latest(route.as_deref(), limit)).await
    }

    pub(crate) async fn clusters(&self) -> Result<Vec<ClusterCount>, StoreError> {
        self.ask(|store| store.clusters()).await
    }

    /// Has the store's thread do something, after what is waiting for it.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let task = Task::Ask(Box::new(move |store| {
            // Whoever asked may have gone.
            let _ = answer.send(question(store));
        }));
        self.queue.try_send(task).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Ended,
        })?;
        answered.await.map_err(|_| StoreError::Ended)?
    }

    /// Writes what is waiting, and ends the thread.
    pub(crate) fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && self.queue.send(Task::Stop).is_ok()
            && thread.join().is_err()
        {
            tracing::error!("the thread of mismatches panicked");
        }
    }
}
