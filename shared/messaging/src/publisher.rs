//! Publishes with confirmation, over one channel that is made again when it breaks.

use std::time::Duration;

use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use telemetry::{TRACEPARENT, TraceContext};
use tokio::sync::Mutex;
use tracing::{Instrument as _, field};

use crate::Broker;

/// AMQP's mark of a message that survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// A message as it is published.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Where it is published.
    pub exchange: &'a str,
    /// What the exchange finds queues by.
    pub routing_key: &'a str,
    /// Its id, by which a consumer knows it again.
    pub id: &'a str,
    /// What it is, for the reader.
    pub kind: &'a str,
    /// JSON.
    pub body: &'a [u8],
    /// The place in a trace of what it follows from, if that is not what runs now.
    pub trace: Option<TraceContext>,
}

/// Why a message was not accepted. It may or may not be in a queue: publish it again with the same id.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// There is no connection to the broker, or it broke.
    #[error("RabbitMQ is away")]
    Away(#[source] lapin::Error),
    /// The broker did not confirm in time.
    #[error("RabbitMQ did not confirm the message within {} ms", .0.as_millis())]
    Unconfirmed(Duration),
    /// The broker refused the message, or no queue takes it.
    #[error("RabbitMQ did not take the message: {0}")]
    Refused(String),
}

/// Publishes; shared by all who do.
#[derive(Debug)]
pub struct Publisher {
    broker: Broker,
    /// Locked only to take the channel or to make it, never while waiting for a confirmation:
    /// confirmations of many messages are awaited at once.
    link: Mutex<Option<Link>>,
}

/// A channel in confirm mode, and the connection that it lives on.
#[derive(Debug)]
struct Link {
    _connection: Connection,
    channel: Channel,
}

impl Publisher {
    /// A publisher that connects when it is first used.
    #[must_use]
    pub fn new(broker: Broker) -> Self {
        Self { broker, link: Mutex::new(None) }
    }

    /// `Ok` once the broker holds the message in a queue.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, message: Message<'_>) -> Result<(), PublishError> {
        let span = tracing::info_span!(
            "publish",
            otel.kind = "producer",
            messaging.system = "rabbitmq",
            messaging.destination.name = message.exchange,
            messaging.message.id = message.id,
            trace_id = field::Empty,
        );
        let place = telemetry::place(&span, message.trace);
        self.publish_in_time(message, place).instrument(span).await
    }

    async fn publish_in_time(&self, message: Message<'_>, place: TraceContext) -> Result<(), PublishError> {
        let limit = self.broker.publish_timeout();
        match tokio::time::timeout(limit, self.publish_and_confirm(message, place)).await {
            Ok(published) => published,
            Err(_) => {
                // The connection may be dead without knowing it yet. A new one costs little.
                if let Ok(mut link) = self.link.try_lock() {
                    *link = None;
                }
                Err(PublishError::Unconfirmed(limit))
            }
        }
    }

    async fn publish_and_confirm(&self, message: Message<'_>, place: TraceContext) -> Result<(), PublishError> {
        let mut headers = FieldTable::default();
        headers.insert(TRACEPARENT.into(), AMQPValue::LongString(place.to_string().into()));
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(message.id.into())
            .with_type(message.kind.into())
            .with_headers(headers);
        // Mandatory: what no queue takes comes back instead of being confirmed and dropped.
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let channel = self.channel().await.map_err(PublishError::Away)?;
        let confirmation = channel
            .basic_publish(message.exchange.into(), message.routing_key.into(), options, message.body, properties)
            .await
            .map_err(PublishError::Away)?
            .await
            .map_err(PublishError::Away)?;
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(returned)) => Err(PublishError::Refused(returned.reply_text.to_string())),
            Confirmation::Nack(_) => Err(PublishError::Refused("the queue refused it".to_owned())),
            Confirmation::NotRequested => Err(PublishError::Refused("confirmations are off".to_owned())),
        }
    }

    /// A channel that was connected a moment ago; whoever comes first makes it.
    async fn channel(&self) -> Result<Channel, lapin::Error> {
        let mut link = self.link.lock().await;
        if let Some(live) = link.as_ref().filter(|link| link.channel.status().connected()) {
            return Ok(live.channel.clone());
        }
        *link = None;
        let (connection, channel) = self.broker.connect("publisher").await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        *link = Some(Link { _connection: connection, channel: channel.clone() });
        Ok(channel)
    }
}
