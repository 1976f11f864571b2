//! Settings of RabbitMQ.

use std::{str::FromStr as _, time::Duration};

use lapin::uri::AMQPUri;
use layered_config::{HumanDuration, Report, Secret, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where the broker is, and how it is spoken to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RabbitmqConfig {
    /// `amqp://user:password@host:port/vhost`.
    pub url: Secret,
    /// The queue that all replicas share. Left empty it is the application's usual one.
    pub queue: String,
    /// How long making a connection may take.
    pub connect_timeout: HumanDuration,
    /// How long a message may wait for a connection and for the broker's confirmation.
    pub publish_timeout: HumanDuration,
    /// After two of these without a sign of life a connection counts as broken.
    pub heartbeat: HumanDuration,
    /// How often a message may be delivered without being settled, before the broker itself passes
    /// it to the dead letters: what stops a message that kills the process.
    pub delivery_limit: u16,
}

impl Default for RabbitmqConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            queue: String::new(),
            connect_timeout: HumanDuration::from_secs(5),
            publish_timeout: HumanDuration::from_secs(5),
            heartbeat: HumanDuration::from_secs(10),
            delivery_limit: 20,
        }
    }
}

impl RabbitmqConfig {
    /// The queue to use in an application whose usual one is this.
    #[must_use]
    pub fn queue_or<'a>(&'a self, usual: &'a str) -> &'a str {
        if self.queue.is_empty() { usual } else { &self.queue }
    }
}

impl Validate for RabbitmqConfig {
    fn validate(&self, report: &mut Report) {
        if AMQPUri::from_str(self.url.expose()).is_err() {
            report.problem("url", "it is not the address of a broker", "write amqp://user:password@host:port/vhost");
        }
        if self.queue.len() > 200 || self.queue.starts_with("amq.") {
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
            report.problem("delivery_limit", "every message would be a dead letter at once", "allow at least 1");
        }
    }
}
