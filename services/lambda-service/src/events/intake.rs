//! Accepting events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::DeadLetterId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::metrics;
use crate::store::{BuriedEvent, RawEvent, Retried, Store, StoreError};

/// How often it is counted what waits.
const SAMPLING: Duration = Duration::from_secs(2);

/// Why an event was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// As many wait as may.
    #[error("{0} events wait, which is as many as may")]
    Full(u64),
    /// The database did not take it. It may have: accept it again with the same id.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Accepts events. Clones are one.
#[derive(Debug, Clone)]
pub struct Intake {
    store: Store,
    bell: Arc<Notify>,
    room: Arc<Room>,
}

/// How much may wait, and about how much does: what was counted last, and what was accepted since.
#[derive(Debug)]
struct Room {
    capacity: u64,
    waiting: AtomicU64,
}

impl Intake {
    /// Accepts for a queue that holds about so many, and rings `bell` then.
    #[must_use]
    pub fn new(store: Store, capacity: u64, bell: Arc<Notify>) -> Self {
        Self { store, bell, room: Arc::new(Room { capacity, waiting: AtomicU64::new(0) }) }
    }

    /// Accepts events, all or none. `Ok` means that they are done or dead letters one day.
    ///
    /// # Errors
    /// See [`IntakeError`].
    pub async fn accept(&self, events: &[RawEvent]) -> Result<(), IntakeError> {
        self.has_room()?;
        let new = self.store.accept_events(events).await?;
        self.room.waiting.fetch_add(new as u64, Ordering::Relaxed);
        for event in events {
            metrics::accepted(event.event_type);
        }
        self.bell.notify_one();
        Ok(())
    }

    /// Accepts a dead letter's event again.
    ///
    /// # Errors
    /// See [`IntakeError`].
    pub async fn retry(
        &self,
        id: DeadLetterId,
        make: impl Fn(BuriedEvent) -> Result<RawEvent, StoreError>,
    ) -> Result<Retried, IntakeError> {
        self.has_room()?;
        let retried = self.store.retry_dead_letter(id, make).await?;
        if retried == Retried::Now {
            metrics::dead_letter_retried();
            self.bell.notify_one();
        }
        Ok(retried)
    }

    fn has_room(&self) -> Result<(), IntakeError> {
        let waiting = self.room.waiting.load(Ordering::Relaxed);
        if waiting < self.room.capacity { Ok(()) } else { Err(IntakeError::Full(waiting)) }
    }

    /// Counts what waits, now and again, until `stop`.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        let counting = async {
            loop {
                match self.store.event_queue_depth().await {
                    Ok(depth) => {
                        self.room.waiting.store(depth.waiting + depth.in_flight, Ordering::Relaxed);
                        metrics::depth(depth);
                    }
                    Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "events are not counted"),
                }
                tokio::time::sleep(SAMPLING).await;
            }
        };
        stop.run_until_cancelled(counting).await;
    }
}
