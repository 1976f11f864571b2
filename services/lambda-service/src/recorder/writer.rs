//! The writer: takes rows from the queue to the database.

use std::{future::Future, time::Duration};

use service::Backoff;
use tokio::time::Instant;

use super::{Pending, Record, Recorder};
use crate::metrics;

/// Where rows end. The database in the service; a script in the unit tests.
pub trait Sink: Send + Sync {
    /// Inserts the records that are not there yet, all or none. A record whose function does not
    /// exist any more is left out. Asked again with the same records, it changes nothing. Answers
    /// how many were inserted.
    fn insert(&self, records: &[&Record]) -> impl Future<Output = Result<u64, SinkError>> + Send;
}

/// Why a batch was not inserted.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// It may work later: the database is away, or a concurrent change stood in the way.
    #[error("the batch could not be inserted now")]
    Transient(#[source] anyhow::Error),
    /// It will never work: the database refuses what a row holds.
    #[error("the database refuses a row")]
    Refused(#[source] anyhow::Error),
}

impl Recorder {
    /// Writes rows until [`Recorder::close`] was called and nothing waits, or its deadline is over.
    pub async fn run(&self, sink: &impl Sink) {
        // Stopped in the middle of a batch, the batch is in the journal and is safe to say again.
        self.shared.stop.run_until_cancelled(self.write_all(sink)).await;
        self.shared.lock().journal.close();
    }

    async fn write_all(&self, sink: &impl Sink) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        while self.batch_is_due().await {
            match self.write_batch(sink).await {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    metrics::batch_failed();
                    tracing::warn!(error = &error as &dyn std::error::Error, "executions wait for the database");
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// Writes what waits, and ends [`Recorder::run`]. What is not written within `deadline` stays in
    /// the journal for the next start. Answers how many rows that is.
    pub async fn close(&self, deadline: Duration) -> usize {
        let through = {
            let mut queue = self.shared.lock();
            queue.closing = true;
            queue.accepted
        };
        self.shared.arrived.notify_one();
        match self.shared.wait_for(through, deadline).await {
            Ok(()) => 0,
            Err(_) => {
                self.shared.stop.cancel();
                self.shared.lock().rows.len()
            }
        }
    }

    /// Waits for a batch that is full, has lingered, or is asked for. False: there will be none.
    async fn batch_is_due(&self) -> bool {
        let settings = &self.shared.settings;
        loop {
            let (waiting, closing) = {
                let queue = self.shared.lock();
                (queue.rows.len(), queue.closing)
            };
            match (waiting, closing) {
                (0, true) => return false,
                (0, false) => self.shared.arrived.notified().await,
                _ => break,
            }
        }
        let deadline = Instant::now() + settings.linger;
        let is_short = { self.shared.lock().rows.len() < settings.batch_rows };
        if is_short {
            // Woken before the time by a full batch, a flush or the end: each wants it written now.
            // A wake-up that was stored while the last batch was on its way ends the linger too:
            // those rows have waited that long.
            let _ = tokio::time::timeout_at(deadline, self.shared.arrived.notified()).await;
        }
        true
    }

    async fn write_batch(&self, sink: &impl Sink) -> Result<(), SinkError> {
        let batch: Vec<Record> = {
            let queue = self.shared.lock();
            queue.rows.iter().take(self.shared.settings.batch_rows).map(|pending| pending.record.clone()).collect()
        };
        let records: Vec<&Record> = batch.iter().collect();
        match sink.insert(&records).await {
            Ok(inserted) => {
                metrics::batch_written(inserted, batch.len() as u64 - inserted);
                self.settle(batch.len());
                Ok(())
            }
            Err(SinkError::Refused(_)) => self.write_one(sink, &batch[0]).await,
            Err(error) => Err(error),
        }
    }

    /// A row of the batch is refused: they go one at a time until it was found. Kept waiting, it
    /// would hold up every row behind it for ever.
    async fn write_one(&self, sink: &impl Sink, record: &Record) -> Result<(), SinkError> {
        match sink.insert(&[record]).await {
            Ok(inserted) => metrics::batch_written(inserted, 1 - inserted),
            Err(SinkError::Refused(error)) => {
                tracing::error!(
                    record = ?record,
                    error = AsRef::<dyn std::error::Error>::as_ref(&error),
                    "the database refuses this execution; it is left out of the history"
                );
                metrics::row_refused();
            }
            Err(error) => return Err(error),
        }
        self.settle(1);
        Ok(())
    }

    /// The first `count` rows are done with.
    fn settle(&self, count: usize) {
        let mut queue = self.shared.lock();
        for _ in 0..count {
            let Pending { segment, .. } = queue.rows.pop_front().expect("only the writer takes rows away");
            if let Some(segment) = segment {
                queue.journal.settled(segment);
            }
        }
        let waiting = queue.rows.len();
        drop(queue);
        metrics::recorder_pending(waiting);
        self.shared.settled.send_modify(|settled| *settled += count as u64);
    }
}
