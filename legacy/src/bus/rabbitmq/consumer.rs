//! Works off the queue: a bounded number of deliveries at once, each acknowledged by hand when its
//! settlement has been carried out.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use lapin::{
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions},
    types::FieldTable,
};
use service::{Backoff, ReadinessHandle, retry};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    Broker, Publisher,
    topology::{DEAD_LETTER_EXCHANGE, TO_QUEUE},
};
use crate::{
    bus::{Processor, PublishError, Settlement},
    event::Event,
};

const CONSUMER_TAG: &str = "mini-lambda-legacy";

pub(super) struct Consumer {
    broker: Broker,
    publisher: Arc<Publisher>,
    processor: Arc<dyn Processor>,
    concurrency: u16,
    /// Deliveries in flight. They outlive the connection that brought them: when it breaks, they
    /// run to their end (and count against the bound) while the broker delivers them again.
    running: JoinSet<()>,
}

impl Consumer {
    pub(super) fn new(
        broker: Broker,
        publisher: Arc<Publisher>,
        processor: Arc<dyn Processor>,
        concurrency: u16,
    ) -> Self {
        Self { broker, publisher, processor, concurrency, running: JoinSet::new() }
    }

    pub(super) async fn run(mut self, stop: &CancellationToken, readiness: &ReadinessHandle) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        while !stop.is_cancelled() {
            let Err(error) = self.consume_until_broken(stop, readiness, &mut backoff).await else { break };
            readiness.not_ready("RabbitMQ cannot be reached");
            let pause = backoff.next_delay();
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "the connection to RabbitMQ broke"
            );
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        while self.running.join_next().await.is_some() {}
    }

    /// `Ok` when stopped, after the deliveries in flight were settled.
    async fn consume_until_broken(
        &mut self,
        stop: &CancellationToken,
        readiness: &ReadinessHandle,
        backoff: &mut Backoff,
    ) -> Result<(), lapin::Error> {
        let Some(connected) = stop.run_until_cancelled(self.broker.connect("consumer")).await else { return Ok(()) };
        let (connection, channel) = connected?;
        channel.basic_qos(self.concurrency, BasicQosOptions::default()).await?;
        let queue = self.broker.topology.queue.as_str();
        let mut deliveries = channel
            .basic_consume(queue.into(), CONSUMER_TAG.into(), BasicConsumeOptions::default(), FieldTable::default())
            .await?;
        readiness.ready();
        backoff.reset();
        loop {
            let room = self.running.len() < usize::from(self.concurrency);
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = self.running.join_next() => {}
                delivery = deliveries.next(), if room => match delivery {
                    Some(delivery) => self.start(delivery?, stop),
                    // Cancelled by the broker, such as when the queue was deleted.
                    None => return Err(lapin::ErrorKind::InvalidChannelState(
                        lapin::ChannelState::Closed, "the broker cancelled the consumer").into()),
                },
            }
        }
        channel.basic_cancel(CONSUMER_TAG.into(), BasicCancelOptions::default()).await?;
        while self.running.join_next().await.is_some() {}
        // What was fetched and not begun is unacknowledged, and goes back now.
        connection.close(200, "draining".into()).await
    }

    fn start(&mut self, delivery: Delivery, stop: &CancellationToken) {
        let id = delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        let span = tracing::info_span!("event", event.id = id, redelivered = delivery.redelivered);
        let work = Work {
            publisher: Arc::clone(&self.publisher),
            processor: Arc::clone(&self.processor),
            retry_queue: self.broker.topology.retry_queue(),
            stop: stop.clone(),
        };
        self.running.spawn(
            async move {
                if let Err(error) = work.work_off(&delivery).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a delivery could not be settled; the broker delivers it again"
                    );
                }
            }
            .instrument(span),
        );
    }
}

/// What one delivery needs.
struct Work {
    publisher: Arc<Publisher>,
    processor: Arc<dyn Processor>,
    retry_queue: String,
    stop: CancellationToken,
}

impl Work {
    async fn work_off(&self, delivery: &Delivery) -> Result<(), lapin::Error> {
        let event: Event = match serde_json::from_slice(&delivery.data) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%error, "a message is not an event; it goes to the dead letters");
                delivery.acker.reject(BasicRejectOptions { requeue: false }).await?;
                return Ok(());
            }
        };
        let passed_on = match self.processor.process(&event).await {
            Settlement::Done => true,
            Settlement::Redeliver(again) => self.pass_on(TO_QUEUE, &self.retry_queue, &again).await,
            Settlement::DeadLetter => self.pass_on(DEAD_LETTER_EXCHANGE, event.event_type.as_str(), &event).await,
        };
        // Not passed on: left unacknowledged, so that it goes back when the connection ends.
        if passed_on {
            delivery.acker.ack(BasicAckOptions::default()).await?;
        }
        Ok(())
    }

    /// Publishes until the broker confirms it; `false` when stopped before that.
    async fn pass_on(&self, exchange: &str, key: &str, event: &Event) -> bool {
        let attempt = || self.publisher.publish(exchange, key, event);
        retry::<_, PublishError, _>("passing an event on", Backoff::default(), &self.stop, attempt).await.is_some()
    }
}
