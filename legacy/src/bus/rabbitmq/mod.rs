//! The bus on RabbitMQ: a topic exchange by event type, a durable quorum queue, publisher confirms,
//! manual acknowledgement.
//!
//! Publishing and consuming each have a connection, because a broker that is short of memory stops
//! reading from connections that publish, and must not stop the acknowledgements with them. Either
//! is made again when it breaks.

mod consumer;
mod publisher;
mod topology;

use std::{str::FromStr as _, sync::Arc, time::Duration};

use async_trait::async_trait;
use lapin::{Channel, Connection, ConnectionProperties, uri::AMQPUri};
use layered_config::{HumanDuration, Report, Secret, Validate};
use serde::Deserialize;
use service::ReadinessHandle;
use tokio_util::sync::CancellationToken;

use super::{BusConfig, EventBus, Processor, PublishError};
use crate::event::Event;

use consumer::Consumer;
use publisher::Publisher;
use topology::Topology;

/// Settings of RabbitMQ.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RabbitmqConfig {
    /// `amqp://user:password@host:port/vhost`.
    pub url: Secret,
    /// The queue that the monolith's replicas share.
    pub queue: String,
    /// How long making a connection may take.
    pub connect_timeout: HumanDuration,
    /// How long an event may wait for a connection and for the broker's confirmation.
    pub publish_timeout: HumanDuration,
    /// After two of these without a sign of life a connection counts as broken.
    pub heartbeat: HumanDuration,
    /// How often an event may be delivered without being settled, before the broker itself passes
    /// it to the dead letters: what stops an event that kills the process.
    pub delivery_limit: u16,
}

impl Default for RabbitmqConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            queue: "mini-lambda-legacy".to_owned(),
            connect_timeout: HumanDuration::from_secs(5),
            publish_timeout: HumanDuration::from_secs(5),
            heartbeat: HumanDuration::from_secs(10),
            delivery_limit: 20,
        }
    }
}

impl Validate for RabbitmqConfig {
    fn validate(&self, report: &mut Report) {
        if AMQPUri::from_str(self.url.expose()).is_err() {
            report.problem("url", "it is not the address of a broker", "write amqp://user:password@host:port/vhost");
        }
        if self.queue.is_empty() || self.queue.len() > 200 || self.queue.starts_with("amq.") {
            report.problem(
                "queue",
                "a queue's name has 1 to 200 bytes and does not start with `amq.`",
                "write e.g. \"mini-lambda-legacy\"",
            );
        }
        if self.heartbeat.get() < Duration::from_secs(1) {
            report.problem("heartbeat", "it must be at least a second", "write e.g. \"10s\"");
        }
        for (key, timeout) in [("connect_timeout", self.connect_timeout), ("publish_timeout", self.publish_timeout)] {
            if timeout.get().is_zero() {
                report.problem(key, "nothing happens in no time", "write e.g. \"5s\"");
            }
        }
        if self.delivery_limit == 0 {
            report.problem("delivery_limit", "every event would be a dead letter at once", "allow at least 1");
        }
    }
}

#[derive(Debug)]
pub(super) struct RabbitmqBus {
    publisher: Arc<Publisher>,
    broker: Broker,
    concurrency: u16,
}

impl RabbitmqBus {
    pub(super) fn new(config: &BusConfig) -> Self {
        let broker = Broker {
            config: config.rabbitmq.clone(),
            topology: Topology {
                queue: config.rabbitmq.queue.clone(),
                redelivery_delay: config.redelivery_delay.get(),
                delivery_limit: config.rabbitmq.delivery_limit,
            },
        };
        Self { publisher: Arc::new(Publisher::new(broker.clone())), broker, concurrency: config.concurrency }
    }
}

#[async_trait]
impl EventBus for RabbitmqBus {
    async fn publish(&self, event: &Event) -> Result<(), PublishError> {
        self.publisher.publish(topology::EVENTS_EXCHANGE, event.event_type.as_str(), event).await
    }

    async fn consume(&self, processor: Arc<dyn Processor>, stop: CancellationToken, readiness: ReadinessHandle) {
        let publisher = Arc::clone(&self.publisher);
        Consumer::new(self.broker.clone(), publisher, processor, self.concurrency).run(&stop, &readiness).await;
    }
}

/// How to reach the broker, and what must be there.
#[derive(Debug, Clone)]
struct Broker {
    config: RabbitmqConfig,
    topology: Topology,
}

impl Broker {
    /// A new connection with one channel, after whose declaration the topology is there. The
    /// channel lives as long as the connection.
    async fn connect(&self, purpose: &str) -> Result<(Connection, Channel), lapin::Error> {
        let connecting = async {
            let mut uri = AMQPUri::from_str(self.config.url.expose()).map_err(|_| {
                lapin::Error::from(lapin::ErrorKind::InvalidConnectionState(lapin::ConnectionState::Error))
            })?;
            uri.query.heartbeat = Some(u16::try_from(self.config.heartbeat.get().as_secs()).unwrap_or(u16::MAX));
            let name = format!("mini-lambda-legacy {purpose}");
            let properties = ConnectionProperties::default().with_connection_name(name.into());
            let connection = Connection::connect_uri(uri, properties).await?;
            let channel = connection.create_channel().await?;
            self.topology.declare(&channel).await?;
            Ok((connection, channel))
        };
        match tokio::time::timeout(self.config.connect_timeout.get(), connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }
}
