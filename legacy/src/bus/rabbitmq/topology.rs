//! What must exist on the broker. Declaring is idempotent, and done on every connection.
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

use std::time::Duration;

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

/// Where events are published, with their type as the routing key.
pub(super) const EVENTS_EXCHANGE: &str = "mini-lambda-events";
/// Where events are published that are given up.
pub(super) const DEAD_LETTER_EXCHANGE: &str = "mini-lambda-dlq";
/// The default exchange: its routing key is a queue's name.
pub(super) const TO_QUEUE: &str = "";

const DEAD_LETTER_QUEUE: &str = "mini-lambda-dlq";
/// The dead letters that the broker keeps for whoever watches; the oldest go first. The record of
/// them is the database's table, not this queue.
const DEAD_LETTERS_KEPT: i64 = 100_000;

#[derive(Debug, Clone)]
pub(super) struct Topology {
    pub(super) queue: String,
    pub(super) redelivery_delay: Duration,
    pub(super) delivery_limit: u16,
}

impl Topology {
    /// Its delay is part of its name: a queue's arguments cannot be changed.
    pub(super) fn retry_queue(&self) -> String {
        format!("{}.retry.{}ms", self.queue, self.redelivery_delay.as_millis())
    }

    pub(super) async fn declare(&self, channel: &Channel) -> Result<(), lapin::Error> {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        for (exchange, kind) in [(EVENTS_EXCHANGE, ExchangeKind::Topic), (DEAD_LETTER_EXCHANGE, ExchangeKind::Fanout)] {
            channel.exchange_declare(exchange.into(), kind, durable, FieldTable::default()).await?;
        }
        self.declare_queue(
            channel,
            &self.queue,
            [
                ("x-delivery-limit", AMQPValue::LongLongInt(i64::from(self.delivery_limit))),
                ("x-dead-letter-exchange", text(DEAD_LETTER_EXCHANGE)),
                // Confirmed by the target before it leaves this queue.
                ("x-dead-letter-strategy", text("at-least-once")),
                ("x-overflow", text("reject-publish")),
            ],
        )
        .await?;
        let delay_ms = i64::try_from(self.redelivery_delay.as_millis()).unwrap_or(i64::MAX);
        self.declare_queue(
            channel,
            &self.retry_queue(),
            [
                ("x-message-ttl", AMQPValue::LongLongInt(delay_ms)),
                ("x-dead-letter-exchange", text(TO_QUEUE)),
                ("x-dead-letter-routing-key", text(&self.queue)),
                ("x-dead-letter-strategy", text("at-least-once")),
                ("x-overflow", text("reject-publish")),
            ],
        )
        .await?;
        self.declare_queue(
            channel,
            DEAD_LETTER_QUEUE,
            [("x-max-length", AMQPValue::LongLongInt(DEAD_LETTERS_KEPT)), ("x-overflow", text("drop-head"))],
        )
        .await?;
        for (queue, exchange, key) in
            [(self.queue.as_str(), EVENTS_EXCHANGE, "#"), (DEAD_LETTER_QUEUE, DEAD_LETTER_EXCHANGE, "")]
        {
            let options = QueueBindOptions::default();
            channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await?;
        }
        Ok(())
    }

    async fn declare_queue<const N: usize>(
        &self,
        channel: &Channel,
        name: &str,
        arguments: [(&str, AMQPValue); N],
    ) -> Result<(), lapin::Error> {
        let mut table = FieldTable::default();
        table.insert("x-queue-type".into(), text("quorum"));
        for (key, value) in arguments {
            table.insert(key.into(), value);
        }
        channel.queue_declare(name.into(), QueueDeclareOptions::durable(), table).await?;
        Ok(())
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
