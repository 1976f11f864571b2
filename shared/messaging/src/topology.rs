//! What must exist on the broker. Declaring is idempotent.

use std::time::Duration;

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

/// The default exchange: its routing key is a queue's name.
pub const TO_QUEUE: &str = "";

/// Durable exchanges, quorum queues, and the bindings between them.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    exchanges: Vec<(String, ExchangeKind)>,
    queues: Vec<Queue>,
    bindings: Vec<(String, String, String)>,
}

/// A durable quorum queue. A queue's arguments cannot be changed once it is there.
#[derive(Debug, Clone)]
pub struct Queue {
    name: String,
    arguments: Vec<(&'static str, AMQPValue)>,
}

impl Queue {
    /// A queue of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), arguments: vec![("x-queue-type", text("quorum"))] }
    }

    /// A message that was delivered this often without being settled becomes a dead letter.
    #[must_use]
    pub fn delivery_limit(self, deliveries: u16) -> Self {
        self.with("x-delivery-limit", AMQPValue::LongLongInt(i64::from(deliveries)))
    }

    /// Where dead letters go, with another routing key if one is given: confirmed by the queue there before
    /// they leave this one, which so has to refuse what it has no room for.
    #[must_use]
    pub fn dead_letters_to(self, exchange: &str, routing_key: Option<&str>) -> Self {
        let queue = self
            .with("x-dead-letter-exchange", text(exchange))
            .with("x-dead-letter-strategy", text("at-least-once"))
            .with("x-overflow", text("reject-publish"));
        match routing_key {
            Some(key) => queue.with("x-dead-letter-routing-key", text(key)),
            None => queue,
        }
    }

    /// A message that has waited this long becomes a dead letter.
    #[must_use]
    pub fn time_to_live(self, wait: Duration) -> Self {
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        self.with("x-message-ttl", AMQPValue::LongLongInt(wait_ms))
    }

    /// Keeps this many messages; the oldest go first.
    #[must_use]
    pub fn keeps(self, messages: i64) -> Self {
        self.with("x-max-length", AMQPValue::LongLongInt(messages)).with("x-overflow", text("drop-head"))
    }

    fn with(mut self, key: &'static str, value: AMQPValue) -> Self {
        self.arguments.push((key, value));
        self
    }
}

impl Topology {
    /// With this exchange.
    #[must_use]
    pub fn exchange(mut self, name: &str, kind: ExchangeKind) -> Self {
        self.exchanges.push((name.to_owned(), kind));
        self
    }

    /// With this queue.
    #[must_use]
    pub fn queue(mut self, queue: Queue) -> Self {
        self.queues.push(queue);
        self
    }

    /// With what comes to the exchange under the routing key going to the queue.
    #[must_use]
    pub fn bind(mut self, queue: &str, exchange: &str, routing_key: &str) -> Self {
        self.bindings.push((queue.to_owned(), exchange.to_owned(), routing_key.to_owned()));
        self
    }

    pub(crate) async fn declare(&self, channel: &Channel) -> Result<(), lapin::Error> {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        for (name, kind) in &self.exchanges {
            channel.exchange_declare(name.as_str().into(), kind.clone(), durable, FieldTable::default()).await?;
        }
        for queue in &self.queues {
            let mut arguments = FieldTable::default();
            for (key, value) in &queue.arguments {
                arguments.insert((*key).into(), value.clone());
            }
            channel.queue_declare(queue.name.as_str().into(), QueueDeclareOptions::durable(), arguments).await?;
        }
        for (queue, exchange, key) in &self.bindings {
            let options = QueueBindOptions::default();
            let (queue, exchange, key) = (queue.as_str().into(), exchange.as_str().into(), key.as_str().into());
            channel.queue_bind(queue, exchange, key, options, FieldTable::default()).await?;
        }
        Ok(())
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
