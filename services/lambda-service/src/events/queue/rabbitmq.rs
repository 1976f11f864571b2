//! The queue on RabbitMQ: what the database holds is announced, and taken under leases.
//!
//! ```text
//!                          EXCHANGE (topic)
//! event_queue ──relay,──►  http cron webhook  ──► QUEUE (quorum) ──delivery limit, unreadable──► QUEUE.dead (fanout)
//!               confirmed  queue stream             │ prefetch, acknowledged when settled              │
//! other publishers ──────►                          ▼                                                  ▼
//!                                                workers                                      QUEUE.dead (quorum)
//! ```
//!
//! A message is the whole event, and of an event that the database knows it is a hint: the lease decides, and a retry is
//! announced when it is due. An event that somebody else has published is accepted first, under its own id. A message
//! for an event that another worker holds is acknowledged; should that one die, the event is announced again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{EventId, EventType, FunctionId};
use messaging::{
    Broker, Consumer, ExchangeKind, Message, PublishError, Publisher, Queue, RabbitmqConfig, Received, SettleError,
    Topology,
};
use service::{Backoff, ReadinessHandle, retry};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{EventQueue, EventWorker, Share};
use crate::{
    events::{metrics, trace},
    executor::Executor,
    store::{RawEvent, Store, StoreError, Taken},
};

/// Its name in the broker's lists.
const APPLICATION: &str = "lambda-service";
/// The queue where the settings name none.
const USUAL_QUEUE: &str = "lambda-service";
/// Dead letters that the broker keeps for whoever looks; the record of events is the database.
const DEAD_LETTERS_KEPT: i64 = 10_000;
/// Messages that are published before any of them is waited for.
const RELAY_BATCH: i64 = 64;
/// The wait of an event whose function has its share of this replica.
const SHARE_TAKEN: Duration = Duration::from_millis(100);

/// The broker, and this service's exchange and queue on it.
#[derive(Debug, Clone)]
pub struct RabbitmqEvents {
    broker: Broker,
    exchange: String,
    queue: String,
}

impl RabbitmqEvents {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(config: &RabbitmqConfig, exchange: &str) -> Self {
        let queue = config.queue_or(USUAL_QUEUE).to_owned();
        let dead = format!("{queue}.dead");
        let mut topology = Topology::default()
            .exchange(exchange, ExchangeKind::Topic)
            .exchange(&dead, ExchangeKind::Fanout)
            .queue(Queue::new(&queue).delivery_limit(config.delivery_limit).dead_letters_to(&dead, None))
            .queue(Queue::new(&dead).keeps(DEAD_LETTERS_KEPT))
            .bind(&dead, &dead, "");
        for event_type in EventType::ALL {
            topology = topology.bind(&queue, exchange, event_type.as_str());
        }
        let broker = Broker::new(config.clone(), APPLICATION, topology);
        Self { broker, exchange: exchange.to_owned(), queue }
    }
}

/// Takes events that the broker tells of.
#[derive(Debug)]
pub struct RabbitmqQueue {
    events: RabbitmqEvents,
    share: Share,
}

impl RabbitmqQueue {
    /// A queue from which this process takes its share.
    #[must_use]
    pub const fn new(events: RabbitmqEvents, share: Share) -> Self {
        Self { events, share }
    }
}

impl EventQueue for RabbitmqQueue {
    async fn consume<E: Executor>(
        &self,
        worker: Arc<EventWorker<E>>,
        stop: CancellationToken,
        hurry: CancellationToken,
        ready: ReadinessHandle,
    ) {
        let shares = Arc::new(Shares { per_function: self.share.per_function, taken: Mutex::default() });
        let handle = |received: Received| {
            let (worker, shares) = (Arc::clone(&worker), Arc::clone(&shares));
            let (stop, hurry) = (stop.clone(), hurry.clone());
            async move { work_off(&worker, &shares, &received, &stop, &hurry).await }
        };
        let prefetch = u16::try_from(self.share.most).unwrap_or(u16::MAX);
        let consumer = Consumer::new(self.events.broker.clone(), &self.events.queue, prefetch);
        consumer.run(handle, &stop, &ready).await;
    }
}

async fn work_off<E: Executor>(
    worker: &Arc<EventWorker<E>>,
    shares: &Arc<Shares>,
    received: &Received,
    stop: &CancellationToken,
    hurry: &CancellationToken,
) -> Result<(), SettleError> {
    let event: RawEvent = match serde_json::from_slice(received.body()) {
        Ok(event) => event,
        Err(error) => {
            tracing::error!(%error, "a message is no event; it goes to the dead letters");
            return received.reject().await;
        }
    };
    let take = || take(worker, &event);
    match retry::<_, StoreError, _>("taking an event", Backoff::default(), stop, take).await {
        Some(Some(taken)) => match shares.take(taken.function_id) {
            Some(_share) => worker.work(taken, hurry).await,
            None => put_back(worker, &taken).await,
        },
        Some(None) => tracing::debug!(event_id = %event.id, "the event is another worker's, or has ended"),
        // Stopped: the message goes back with the connection.
        None => return Ok(()),
    }
    // Whatever came of it is in the database.
    received.acknowledge().await
}

/// Takes the event, which may be one of another publisher that the database does not know yet.
async fn take<E: Executor>(worker: &EventWorker<E>, event: &RawEvent) -> Result<Option<Taken>, StoreError> {
    if let Some(taken) = worker.take_this(event.id).await? {
        return Ok(Some(taken));
    }
    if worker.store().accept_events(std::slice::from_ref(event)).await? == 0 {
        return Ok(None);
    }
    worker.take_this(event.id).await
}

async fn put_back<E: Executor>(worker: &EventWorker<E>, taken: &Taken) {
    metrics::put_back("deferred");
    if let Err(error) = worker.store().put_event_back(taken, None, SHARE_TAKEN).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "an event could not be put back; its lease runs out");
    }
}

/// How many events of each function this replica works on.
struct Shares {
    per_function: usize,
    taken: Mutex<HashMap<FunctionId, usize>>,
}

/// One event's place in its function's share, until it is dropped.
struct ShareOf {
    shares: Arc<Shares>,
    function: FunctionId,
}

impl Shares {
    fn take(self: &Arc<Self>, function: FunctionId) -> Option<ShareOf> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(function).or_default();
        if *count >= self.per_function {
            return None;
        }
        *count += 1;
        Some(ShareOf { shares: Arc::clone(self), function })
    }
}

impl Drop for ShareOf {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.function) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.function);
            }
        }
    }
}

/// Tells the broker of events that the database holds.
#[derive(Debug)]
pub struct Relay {
    store: Store,
    publisher: Publisher,
    exchange: String,
    bell: Arc<Notify>,
    poll_interval: Duration,
    announce_again: Duration,
}

impl Relay {
    /// A relay that looks whenever `bell` rings, and now and then. What was announced and not taken for
    /// `announce_again` is announced again.
    #[must_use]
    pub fn new(
        events: RabbitmqEvents,
        store: Store,
        bell: Arc<Notify>,
        poll_interval: Duration,
        announce_again: Duration,
    ) -> Self {
        let publisher = Publisher::new(events.broker);
        Self { store, publisher, exchange: events.exchange, bell, poll_interval, announce_again }
    }

    /// Publishes until `stop`. Events that are not published stay unannounced.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut look_back_at = Instant::now();
        while !stop.is_cancelled() {
            // Made before looking, so that a bell between looking and waiting is heard.
            let rung = self.bell.notified();
            if look_back_at <= Instant::now() {
                look_back_at = Instant::now() + self.announce_again / 2;
                self.look_back().await;
            }
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
                    tracing::warn!(error = format!("{error:#}"), retry_in_ms, "events wait to be announced");
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

    async fn look_back(&self) {
        match self.store.announce_forgotten_events(self.announce_again).await {
            Ok(0) => {}
            Ok(events) => tracing::warn!(events, "events were announced and not taken; they are announced again"),
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "not looked back"),
        }
    }

    /// Announces a batch. Two replicas may announce the same event: the lease decides.
    async fn relay(&self) -> anyhow::Result<usize> {
        let waiting = self.store.unannounced_events(RELAY_BATCH).await?;
        let published = waiting.iter().map(|(id, event_type, body)| self.publish(*id, *event_type, body));
        let published = futures::future::join_all(published).await;
        let mut confirmed = Vec::new();
        let mut failure = None;
        for ((id, ..), outcome) in waiting.into_iter().zip(published) {
            match outcome {
                Ok(()) => confirmed.push(id),
                Err(error) => failure = Some(error),
            }
        }
        self.store.events_announced(&confirmed).await?;
        metrics::announced(confirmed.len());
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(confirmed.len()),
        }
    }

    async fn publish(&self, id: EventId, event_type: EventType, body: &str) -> Result<(), PublishError> {
        let id = id.to_string();
        let (exchange, kind) = (self.exchange.as_str(), event_type.as_str());
        let (trace, body) = (trace::noted(body), body.as_bytes());
        self.publisher.publish(Message { exchange, routing_key: kind, id: &id, kind, body, trace }).await
    }
}
