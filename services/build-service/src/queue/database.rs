//! The queue that needs nothing but the database: the jobs are the queue.
//!
//! Workers pass over rows that another one is just taking (`FOR UPDATE SKIP LOCKED`), and are woken by
//! `NOTIFY`, which PostgreSQL sends when the transaction with the job commits. A worker that was not woken,
//! because its connection broke, looks by itself now and then.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use service::{Backoff, ReadinessHandle};
use sqlx::postgres::PgListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::JobQueue;
use crate::{
    store::{Store, StoreError},
    worker::Worker,
};

/// Jobs in the database.
#[derive(Debug)]
pub struct DatabaseQueue {
    store: Store,
    concurrency: usize,
    poll_interval: Duration,
}

impl DatabaseQueue {
    /// A queue from which this process takes so many jobs at a time.
    #[must_use]
    pub const fn new(store: Store, concurrency: usize, poll_interval: Duration) -> Self {
        Self { store, concurrency, poll_interval }
    }

    /// Takes jobs as long as there are any and there is room; true when there is room left.
    async fn take(&self, worker: &Arc<Worker>, running: &mut JoinSet<()>) -> Result<bool, StoreError> {
        while running.len() < self.concurrency {
            let Some(lease) = worker.take_any().await? else { return Ok(true) };
            let worker = Arc::clone(worker);
            running.spawn(async move { worker.build(lease).await });
        }
        Ok(false)
    }

    async fn work(
        &self,
        worker: &Arc<Worker>,
        running: &mut JoinSet<()>,
        stop: &CancellationToken,
        ready: &ReadinessHandle,
        backoff: &mut Backoff,
    ) -> Result<(), StoreError> {
        let mut listener = self.store.listen().await?;
        loop {
            let has_room = self.take(worker, running).await?;
            ready.ready();
            backoff.reset();
            tokio::select! {
                // First, or a worker that stops might take the job again that it has just given back. Not while a job
                // is being taken: it would be held by nobody until its lease is over.
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(_) = running.join_next() => {}
                () = woken(&mut listener, self.poll_interval), if has_room => {}
            }
        }
    }
}

/// When there may be something to do. A broken connection shows itself at the next statement.
async fn woken(listener: &mut PgListener, poll_interval: Duration) {
    match tokio::time::timeout(poll_interval, listener.recv()).await {
        // All that came together are one reason to look.
        Ok(Ok(_)) => while listener.next_buffered().is_some() {},
        Ok(Err(_)) => tokio::time::sleep(poll_interval).await,
        Err(_) => {}
    }
}

#[async_trait]
impl JobQueue for DatabaseQueue {
    async fn consume(&self, worker: Arc<Worker>, stop: CancellationToken, ready: ReadinessHandle) {
        let (mut running, mut backoff) = (JoinSet::new(), Backoff::default());
        while !stop.is_cancelled() {
            let Err(error) = self.work(&worker, &mut running, &stop, &ready, &mut backoff).await else { break };
            ready.not_ready("the database cannot be used");
            let pause = backoff.next_delay();
            let retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(error = &error as &dyn std::error::Error, retry_in_ms, "no job could be taken");
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        while running.join_next().await.is_some() {}
    }
}
