//! The bus on RabbitMQ: a topic exchange by event type, a durable quorum queue, publisher confirms,
//! manual acknowledgement.
//!
//! ```text
//! mini-lambda-events (topic) ──#──► QUEUE (quorum) ──delivery limit, unreadable──► mini-lambda-dlq (fanout)
//!                                     ▲                                                │
//!                  after its delay    │                                                ▼
//!                       QUEUE.retry.…ms (quorum)                           mini-lambda-dlq (quorum)
//! ```
//!
//! An event that waits for its next attempt goes back to this queue alone, not to the exchange:
//! whoever else listens there has seen it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::Event;
use messaging::{Broker, Consumer, ExchangeKind, Message, Publisher, Queue, Received, SettleError, TO_QUEUE, Topology};
use service::{Backoff, ReadinessHandle, retry};
use tokio_util::sync::CancellationToken;

use super::{BusConfig, CountError, EventBus, Processor, PublishError, Settlement};

/// Its name in the broker's lists, and of its queue where the settings name none.
const APPLICATION: &str = "mini-lambda-legacy";
/// Where events are published, with their type as the routing key.
const EVENTS_EXCHANGE: &str = "mini-lambda-events";
/// Where events are published that are given up.
const DEAD_LETTER_EXCHANGE: &str = "mini-lambda-dlq";
const DEAD_LETTER_QUEUE: &str = "mini-lambda-dlq";
/// The dead letters that the broker keeps for whoever watches; the oldest go first. The record of
/// them is the database's table, not this queue.
const DEAD_LETTERS_KEPT: i64 = 100_000;

#[derive(Debug)]
pub(super) struct RabbitmqBus {
    publisher: Arc<Publisher>,
    broker: Broker,
    queue: String,
    retry_queue: String,
    concurrency: u16,
    /// What this process works on: the broker counts only what it has not handed out.
    working: Arc<AtomicU64>,
}

impl RabbitmqBus {
    pub(super) fn new(config: &BusConfig) -> Self {
        let queue = config.rabbitmq.queue_or(APPLICATION).to_owned();
        let delay = config.redelivery_delay.get();
        // Its delay is part of its name: a queue's arguments cannot be changed.
        let retry_queue = format!("{queue}.retry.{}ms", delay.as_millis());
        let topology = topology(&queue, &retry_queue, delay, config.rabbitmq.delivery_limit);
        let broker = Broker::new(config.rabbitmq.clone(), APPLICATION, topology);
        let publisher = Arc::new(Publisher::new(broker.clone()));
        Self { publisher, broker, queue, retry_queue, concurrency: config.concurrency, working: Arc::default() }
    }
}

fn topology(queue: &str, retry_queue: &str, delay: Duration, delivery_limit: u16) -> Topology {
    Topology::default()
        .exchange(EVENTS_EXCHANGE, ExchangeKind::Topic)
        .exchange(DEAD_LETTER_EXCHANGE, ExchangeKind::Fanout)
        .queue(Queue::new(queue).delivery_limit(delivery_limit).dead_letters_to(DEAD_LETTER_EXCHANGE, None))
        .queue(Queue::new(retry_queue).time_to_live(delay).dead_letters_to(TO_QUEUE, Some(queue)))
        .queue(Queue::new(DEAD_LETTER_QUEUE).keeps(DEAD_LETTERS_KEPT))
        .bind(queue, EVENTS_EXCHANGE, "#")
        .bind(DEAD_LETTER_QUEUE, DEAD_LETTER_EXCHANGE, "")
}

#[async_trait]
impl EventBus for RabbitmqBus {
    async fn publish(&self, event: &Event) -> Result<(), PublishError> {
        publish(&self.publisher, EVENTS_EXCHANGE, event.event_type.as_str(), event).await
    }

    async fn consume(&self, processor: Arc<dyn Processor>, stop: CancellationToken, readiness: ReadinessHandle) {
        let work = Arc::new(Work {
            publisher: Arc::clone(&self.publisher),
            processor,
            retry_queue: self.retry_queue.clone(),
            stop: stop.clone(),
        });
        let handle = |received| {
            let (work, working) = (Arc::clone(&work), Working::one_more(&self.working));
            async move {
                let settled = work.work_off(&received).await;
                drop(working);
                settled
            }
        };
        Consumer::new(self.broker.clone(), &self.queue, self.concurrency).run(handle, &stop, &readiness).await;
    }

    async fn unsettled(&self) -> Result<u64, CountError> {
        // The broker first: what it hands out meanwhile is counted here.
        let waiting = self.broker.messages(&[&self.queue, &self.retry_queue]).await.map_err(CountError::Broker)?;
        Ok(waiting + self.working.load(Ordering::Acquire))
    }
}

async fn publish(publisher: &Publisher, exchange: &str, routing_key: &str, event: &Event) -> Result<(), PublishError> {
    let body = serde_json::to_vec(event).expect("an event is plain data");
    let (id, kind) = (event.id.to_string(), event.event_type.as_str());
    publisher
        .publish(Message { exchange, routing_key, id: &id, kind, body: &body, trace: None })
        .await
        .map_err(PublishError::Broker)
}

/// One event that is worked on.
struct Working(Arc<AtomicU64>);

impl Working {
    fn one_more(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What each delivery needs.
struct Work {
    publisher: Arc<Publisher>,
    processor: Arc<dyn Processor>,
    retry_queue: String,
    stop: CancellationToken,
}

impl Work {
    async fn work_off(&self, received: &Received) -> Result<(), SettleError> {
        let event: Event = match serde_json::from_slice(received.body()) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%error, "a message is not an event; it goes to the dead letters");
                return received.reject().await;
            }
        };
        let passed_on = match self.processor.process(&event).await {
            Settlement::Done => true,
            Settlement::Redeliver(again) => self.pass_on(TO_QUEUE, &self.retry_queue, &again).await,
            Settlement::DeadLetter => self.pass_on(DEAD_LETTER_EXCHANGE, event.event_type.as_str(), &event).await,
        };
        // Not passed on: left unacknowledged, so that it goes back when the connection ends.
        if passed_on { received.acknowledge().await } else { Ok(()) }
    }

    /// Publishes until the broker confirms it; `false` when stopped before that.
    async fn pass_on(&self, exchange: &str, key: &str, event: &Event) -> bool {
        let attempt = || publish(&self.publisher, exchange, key, event);
        retry::<_, PublishError, _>("passing an event on", Backoff::default(), &self.stop, attempt).await.is_some()
    }
}
