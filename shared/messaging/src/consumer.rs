//! Works off a queue: a bounded number of messages at once, each settled by hand.

use std::{future::Future, time::Duration};

use futures::StreamExt as _;
use lapin::{
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions},
    types::{AMQPValue, FieldTable},
};
use service::{Backoff, ReadinessHandle};
use telemetry::{TRACEPARENT, TraceContext};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, field};

use crate::Broker;

/// The broker has not heard how a message was settled, and delivers it again.
#[derive(Debug, thiserror::Error)]
#[error("a message could not be settled; the broker delivers it again")]
pub struct SettleError(#[from] lapin::Error);

/// A message that was delivered. Until it is settled, or the connection breaks, it is nobody else's.
#[derive(Debug)]
pub struct Received(Delivery);

impl Received {
    /// The id it was published with; empty when it had none.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Where in a trace it was published; none when its publisher did not say.
    fn trace(&self) -> Option<TraceContext> {
        match self.0.properties.headers().as_ref()?.inner().get(TRACEPARENT)? {
            AMQPValue::LongString(text) => TraceContext::parse(std::str::from_utf8(text.as_bytes()).ok()?),
            AMQPValue::ShortString(text) => TraceContext::parse(text.as_str()),
            _ => None,
        }
    }

    /// What was published.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.0.data
    }

    /// It is done with. A message that is neither acknowledged nor rejected goes back to the queue when the
    /// connection ends.
    ///
    /// # Errors
    /// See [`SettleError`].
    pub async fn acknowledge(&self) -> Result<(), SettleError> {
        self.0.acker.ack(BasicAckOptions::default()).await?;
        Ok(())
    }

    /// It becomes a dead letter.
    ///
    /// # Errors
    /// See [`SettleError`].
    pub async fn reject(&self) -> Result<(), SettleError> {
        self.0.acker.reject(BasicRejectOptions { requeue: false }).await?;
        Ok(())
    }
}

/// Hands messages of one queue over, so many at a time.
#[derive(Debug)]
pub struct Consumer {
    broker: Broker,
    queue: String,
    concurrency: u16,
    /// Messages in flight. They outlive the connection that brought them: when it breaks, they
    /// run to their end (and count against the bound) while the broker delivers them again.
    running: JoinSet<()>,
}

impl Consumer {
    /// A consumer of this queue.
    #[must_use]
    pub fn new(broker: Broker, queue: &str, concurrency: u16) -> Self {
        Self { broker, queue: queue.to_owned(), concurrency, running: JoinSet::new() }
    }

    /// Hands messages to `handle` until `stop`, whatever becomes of the broker meanwhile; `ready` says whether
    /// it can be reached. Returns when what was handed over has been handled.
    pub async fn run<F>(mut self, handle: impl Fn(Received) -> F, stop: &CancellationToken, ready: &ReadinessHandle)
    where
        F: Future<Output = Result<(), SettleError>> + Send + 'static,
    {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        while !stop.is_cancelled() {
            let Err(error) = self.consume_until_broken(&handle, stop, ready, &mut backoff).await else { break };
            ready.not_ready("RabbitMQ cannot be reached");
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

    /// `Ok` when stopped, after the messages in flight were settled.
    async fn consume_until_broken<F>(
        &mut self,
        handle: &impl Fn(Received) -> F,
        stop: &CancellationToken,
        ready: &ReadinessHandle,
        backoff: &mut Backoff,
    ) -> Result<(), lapin::Error>
    where
        F: Future<Output = Result<(), SettleError>> + Send + 'static,
    {
        let Some(connected) = stop.run_until_cancelled(self.broker.connect("consumer")).await else { return Ok(()) };
        let (connection, channel) = connected?;
        channel.basic_qos(self.concurrency, BasicQosOptions::default()).await?;
        let (queue, tag) = (self.queue.clone(), self.broker.application().to_owned());
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(queue.into(), tag.as_str().into(), options, FieldTable::default());
        let mut deliveries = consuming.await?;
        ready.ready();
        backoff.reset();
        loop {
            let room = self.running.len() < usize::from(self.concurrency);
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = self.running.join_next() => {}
                delivery = deliveries.next(), if room => match delivery {
                    Some(delivery) => self.start(handle, delivery?),
                    // Cancelled by the broker, such as when the queue was deleted.
                    None => return Err(lapin::ErrorKind::InvalidChannelState(
                        lapin::ChannelState::Closed, "the broker cancelled the consumer").into()),
                },
            }
        }
        channel.basic_cancel(tag.as_str().into(), BasicCancelOptions::default()).await?;
        while self.running.join_next().await.is_some() {}
        // What was fetched and not begun is unacknowledged, and goes back now.
        connection.close(200, "draining".into()).await
    }

    fn start<F>(&mut self, handle: &impl Fn(Received) -> F, delivery: Delivery)
    where
        F: Future<Output = Result<(), SettleError>> + Send + 'static,
    {
        let redelivered = delivery.redelivered;
        let received = Received(delivery);
        let span = tracing::info_span!(
            "message",
            otel.kind = "consumer",
            messaging.system = "rabbitmq",
            messaging.destination.name = self.queue,
            message.id = received.id(),
            redelivered,
            trace_id = field::Empty,
        );
        telemetry::place(&span, received.trace());
        let handling = handle(received);
        self.running.spawn(
            async move {
                if let Err(error) = handling.await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "not settled");
                }
            }
            .instrument(span),
        );
    }
}
