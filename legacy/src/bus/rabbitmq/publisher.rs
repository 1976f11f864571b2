//! Publishes with confirmation, over one channel that is made again when it breaks.

use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::sync::Mutex;

use super::Broker;
use crate::{bus::PublishError, event::Event};

/// AMQP's mark of a message that survives a restart of the broker.
const PERSISTENT: u8 = 2;

#[derive(Debug)]
pub(super) struct Publisher {
    broker: Broker,
    /// Locked only to take the channel or to make it, never while waiting for a confirmation:
    /// confirmations of many events are awaited at once.
    link: Mutex<Option<Link>>,
}

/// A channel in confirm mode, and the connection that it lives on.
#[derive(Debug)]
struct Link {
    _connection: Connection,
    channel: Channel,
}

impl Publisher {
    pub(super) fn new(broker: Broker) -> Self {
        Self { broker, link: Mutex::new(None) }
    }

    /// `Ok` once the broker holds the event in a queue.
    pub(super) async fn publish(&self, exchange: &str, key: &str, event: &Event) -> Result<(), PublishError> {
        let limit = self.broker.config.publish_timeout.get();
        match tokio::time::timeout(limit, self.publish_and_confirm(exchange, key, event)).await {
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

    async fn publish_and_confirm(&self, exchange: &str, key: &str, event: &Event) -> Result<(), PublishError> {
        let away = |error| PublishError::Away(Some(error));
        let body = serde_json::to_vec(event).expect("an event is plain data");
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(event.id.to_string().into())
            .with_type(event.event_type.as_str().into());
        // Mandatory: what no queue takes comes back instead of being confirmed and dropped.
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let channel = self.channel().await.map_err(away)?;
        let confirmation = channel
            .basic_publish(exchange.into(), key.into(), options, &body, properties)
            .await
            .map_err(away)?
            .await
            .map_err(away)?;
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
