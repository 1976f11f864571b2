//! The queue that needs nothing but the database: the rows are the queue.
//!
//! Workers pass over rows that another one is just taking (`FOR UPDATE SKIP LOCKED`). Those of this process are woken
//! when it accepts an event; what others have accepted, or has waited out its delay, is found by looking.

use std::{sync::Arc, time::Duration};

use service::{Backoff, ReadinessHandle};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{EventQueue, EventWorker, Running, Share};
use crate::{executor::Executor, store::StoreError};

/// Events in the database.
#[derive(Debug)]
pub struct DatabaseQueue {
    share: Share,
    poll_interval: Duration,
    bell: Arc<Notify>,
}

impl DatabaseQueue {
    /// A queue from which this process takes its share, when `bell` rings and now and then.
    #[must_use]
    pub const fn new(share: Share, poll_interval: Duration, bell: Arc<Notify>) -> Self {
        Self { share, poll_interval, bell }
    }

    /// Takes events as long as there are any and there is room.
    async fn take<E: Executor>(
        &self,
        worker: &Arc<EventWorker<E>>,
        running: &mut Running,
        (stop, hurry): (&CancellationToken, &CancellationToken),
    ) -> Result<(), StoreError> {
        while running.len() < self.share.most && !stop.is_cancelled() {
            let Some(taken) = worker.take_any(&running.busy(self.share)).await? else { break };
            running.start(taken, worker, hurry);
        }
        Ok(())
    }
}

impl EventQueue for DatabaseQueue {
    async fn consume<E: Executor>(
        &self,
        worker: Arc<EventWorker<E>>,
        stop: CancellationToken,
        hurry: CancellationToken,
        ready: ReadinessHandle,
    ) {
        let mut running = Running::default();
        let mut look_at = Instant::now();
        let mut backoff = Backoff::new(self.poll_interval, Duration::from_secs(10).max(self.poll_interval));
        while !stop.is_cancelled() {
            let has_room = running.len() < self.share.most;
            tokio::select! {
                () = stop.cancelled() => {}
                // A slot came free: more may wait for it.
                Some(()) = running.ended() => look_at = Instant::now(),
                () = self.bell.notified(), if has_room => look_at = Instant::now(),
                // Not while an event is being taken: it would be held by nobody until its lease is over.
                () = sleep_until(look_at), if has_room => {
                    let pause = match self.take(&worker, &mut running, (&stop, &hurry)).await {
                        Ok(()) => {
                            ready.ready();
                            backoff.reset();
                            self.poll_interval
                        }
                        Err(error) => {
                            ready.not_ready("the event queue cannot be read");
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(error, "no event could be taken");
                            backoff.next_delay()
                        }
                    };
                    look_at = Instant::now() + pause;
                }
            }
        }
        while running.ended().await.is_some() {}
    }
}
