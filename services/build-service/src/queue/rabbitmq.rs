//! The queue on RabbitMQ: masters publish what the outbox holds, workers take it under leases.
//!
//! ```text
//! build_outbox ──relay, confirmed──► build-jobs (quorum) ──delivery limit, unreadable──► build-jobs.dead (fanout)
//!                                        │ prefetch, acknowledged when ended                    │
//!                                        ▼                                                      ▼
//!                                     workers                                        build-jobs.dead (quorum)
//! ```
//!
//! A message is an id, and a hint: the lease decides. A message for a job that another worker holds is
//! acknowledged; should that worker die, the job is announced again when its lease is over. A message that kills
//! its worker time and again ends with the dead letters, and its job fails when its attempts are used up.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::JobId;
use messaging::{
    Broker, Consumer, ExchangeKind, Message, PublishError, Publisher, Queue, RabbitmqConfig, Received, SettleError,
    TO_QUEUE, Topology,
};
use serde::{Deserialize, Serialize};
use service::{Backoff, ReadinessHandle, retry};
use telemetry::TraceContext;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::JobQueue;
use crate::{
    store::{Store, StoreError},
    worker::Worker,
};

/// Its name in the broker's lists.
const APPLICATION: &str = "build-service";
/// The queue where the settings name none.
const USUAL_QUEUE: &str = "build-jobs";
/// Dead letters that the broker keeps for whoever looks; the record of jobs is the database.
const DEAD_LETTERS_KEPT: i64 = 10_000;
/// Messages that are published before any of them is waited for.
const RELAY_BATCH: i64 = 64;

/// The broker, and the queue of this service on it.
#[derive(Debug, Clone)]
pub struct RabbitmqJobs {
    broker: Broker,
    queue: String,
}

/// What a message says.
#[derive(Debug, Serialize, Deserialize)]
struct Announcement {
    job_id: JobId,
}

impl RabbitmqJobs {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(config: &RabbitmqConfig) -> Self {
        let queue = config.queue_or(USUAL_QUEUE).to_owned();
        let dead = format!("{queue}.dead");
        let topology = Topology::default()
            .exchange(&dead, ExchangeKind::Fanout)
            .queue(Queue::new(&queue).delivery_limit(config.delivery_limit).dead_letters_to(&dead, None))
            .queue(Queue::new(&dead).keeps(DEAD_LETTERS_KEPT))
            .bind(&dead, &dead, "");
        Self { broker: Broker::new(config.clone(), APPLICATION, topology), queue }
    }
}

/// Takes jobs that the broker tells of.
#[derive(Debug)]
pub struct RabbitmqQueue {
    jobs: RabbitmqJobs,
    concurrency: u16,
}

impl RabbitmqQueue {
    /// A queue from which this process takes so many jobs at a time.
    #[must_use]
    pub const fn new(jobs: RabbitmqJobs, concurrency: u16) -> Self {
        Self { jobs, concurrency }
    }
}

#[async_trait]
impl JobQueue for RabbitmqQueue {
    async fn consume(&self, worker: Arc<Worker>, stop: CancellationToken, ready: ReadinessHandle) {
        let handle = |received: Received| {
            let (worker, stop) = (Arc::clone(&worker), stop.clone());
            async move { work_off(&worker, &received, &stop).await }
        };
        let consumer = Consumer::new(self.jobs.broker.clone(), &self.jobs.queue, self.concurrency);
        consumer.run(handle, &stop, &ready).await;
    }
}

async fn work_off(worker: &Worker, received: &Received, stop: &CancellationToken) -> Result<(), SettleError> {
    let announcement: Announcement = match serde_json::from_slice(received.body()) {
        Ok(announcement) => announcement,
        Err(error) => {
            tracing::error!(%error, "a message names no job; it goes to the dead letters");
            return received.reject().await;
        }
    };
    let take = || async { worker.take_one(announcement.job_id).await };
    let taking = retry::<_, StoreError, _>("taking a job", Backoff::default(), stop, take);
    match taking.await {
        Some(Some(lease)) => worker.build(lease).await,
        Some(None) => tracing::debug!(job_id = %announcement.job_id, "the job is another worker's or has ended"),
        // Stopped: the message goes back with the connection.
        None => return Ok(()),
    }
    // Whatever came of it is in the database.
    received.acknowledge().await
}

/// Brings what the outbox holds to the broker.
#[derive(Debug)]
pub struct Relay {
    store: Store,
    publisher: Publisher,
    queue: String,
    bell: Arc<Notify>,
    poll_interval: Duration,
}

impl Relay {
    /// A relay that looks whenever `bell` rings, and now and then.
    #[must_use]
    pub fn new(jobs: RabbitmqJobs, store: Store, bell: Arc<Notify>, poll_interval: Duration) -> Self {
        Self { store, publisher: Publisher::new(jobs.broker), queue: jobs.queue, bell, poll_interval }
    }

    /// Publishes until `stop`. Jobs that are not published stay in the outbox.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            // Made before looking, so that a bell between looking and waiting is heard.
            let rung = self.bell.notified();
            let pause = match stop.run_until_cancelled(self.relay()).await {
                None => break,
                Some(Ok(0)) => {
                    backoff.reset();
                    self.poll_interval
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => {
                    let pause = backoff.next_delay();
                    let retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                    tracing::warn!(error = format!("{error:#}"), retry_in_ms, "jobs wait in the outbox");
                    stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                    continue;
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = rung => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Publishes a batch. Two masters may publish the same job: the lease decides.
    async fn relay(&self) -> anyhow::Result<usize> {
        let waiting = self.store.unpublished(RELAY_BATCH).await?;
        let published = futures::future::join_all(waiting.iter().map(|(id, trace)| self.publish(*id, *trace))).await;
        let mut confirmed = Vec::new();
        let mut failure = None;
        for ((id, _), outcome) in waiting.into_iter().zip(published) {
            match outcome {
                Ok(()) => confirmed.push(id),
                Err(error) => failure = Some(error),
            }
        }
        self.store.published(&confirmed).await?;
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(confirmed.len()),
        }
    }

    async fn publish(&self, job_id: JobId, trace: Option<TraceContext>) -> Result<(), PublishError> {
        let body = serde_json::to_vec(&Announcement { job_id }).expect("an id is plain data");
        let id = job_id.to_string();
        let (routing_key, kind) = (&*self.queue, "build-job");
        let message = Message { exchange: TO_QUEUE, routing_key, id: &id, kind, body: &body, trace };
        self.publisher.publish(message).await
    }
}
