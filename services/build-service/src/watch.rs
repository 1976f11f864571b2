//! What a master looks after, whoever else does: jobs that nobody works on, and the figures of the queue.

use std::{sync::Arc, time::Duration};

use domain::BuildFailure;
use tokio::sync::Notify;

use crate::{
    metrics,
    store::{Store, StoreError},
    worker::ABANDONED,
};

/// Watches over leases and the queue.
#[derive(Debug)]
pub struct Watch {
    /// Where builds are.
    pub store: Store,
    /// How often a job is taken at most.
    pub max_attempts: i32,
    /// How long a job may wait for a worker before it is announced again; `None` where the database is the queue.
    pub announce_again: Option<Duration>,
    /// How long a client's key is known.
    pub idempotency_ttl: Duration,
    /// How often to look.
    pub interval: Duration,
    /// Rung when there is something to tell.
    pub bell: Arc<Notify>,
}

impl Watch {
    /// Looks, for ever.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "builds could not be looked after");
            }
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let message = format!(
            "{} workers took the build and none of them ended it; the last may have been stopped by it",
            self.max_attempts
        );
        let failure = BuildFailure { code: ABANDONED.to_owned(), message };
        let abandoned = self.store.abandon(self.max_attempts, &failure).await?;
        if abandoned > 0 {
            tracing::error!(jobs = abandoned, "builds have failed that no worker ended");
            metrics::abandoned(abandoned, ABANDONED);
            self.bell.notify_waiters();
        }
        if let Some(waited) = self.announce_again
            && self.store.announce_forgotten(waited).await? > 0
        {
            self.bell.notify_waiters();
        }
        self.store.forget_keys(self.idempotency_ttl).await?;
        metrics::queue(self.store.queue_state().await?);
        Ok(())
    }
}
