//! Settings of events.

use std::time::Duration;

use layered_config::{ByteSize, HumanDuration, Report, Validate};
use messaging::RabbitmqConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{WorkerSettings, retry::RetryPolicy};

/// Events.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventsConfig {
    /// What tells workers of events: `database`, which needs nothing else, or `rabbitmq`.
    pub queue: QueueKind,
    /// Events that this replica works on at once; 0: it only accepts them.
    pub concurrency: u16,
    /// Of these, events of one function.
    pub concurrency_per_function: u16,
    /// How often an event is tried again after its first failure.
    pub max_retries: u32,
    /// What the wait before the first retry is drawn around; each further one is twice as long.
    pub retry_first: HumanDuration,
    /// The longest wait before a retry.
    pub retry_most: HumanDuration,
    /// How long an event waits that could not be worked on for no fault of its function, as when no worker was free.
    pub defer: HumanDuration,
    /// How long after the death of a process its events are taken by another.
    pub lease: HumanDuration,
    /// An event over which so many processes have died is given up.
    pub max_deliveries: u16,
    /// How often the database is asked for events that this process did not accept itself, or that have waited
    /// out their delay.
    pub poll_interval: HumanDuration,
    /// About so many events may wait; what exceeds it is refused with 503. (Cron triggers are fired all the same.)
    pub capacity: u64,
    /// The most that the payload of an asynchronous call may hold.
    pub max_payload: ByteSize,
    /// How long events in flight may take to end at SIGTERM, before they are given back.
    pub drain: HumanDuration,
    /// With `rabbitmq`: how long after an event was announced, and not taken, it is announced again.
    pub announce_again: HumanDuration,
    /// With `rabbitmq`: the topic exchange. While the monolith runs on the same broker, not its own: it would call the
    /// function too.
    pub exchange: String,
    /// The broker.
    pub rabbitmq: RabbitmqConfig,
}

/// The implementations of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueKind {
    /// The rows themselves.
    Database,
    /// A quorum queue of RabbitMQ, which is told of the rows.
    Rabbitmq,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            queue: QueueKind::Database,
            concurrency: 8,
            concurrency_per_function: 4,
            max_retries: domain::DEFAULT_MAX_RETRIES,
            retry_first: HumanDuration::from_secs(1),
            retry_most: HumanDuration::from_secs(60),
            defer: HumanDuration::from_secs(1),
            lease: HumanDuration::from_secs(30),
            max_deliveries: 20,
            poll_interval: HumanDuration::from_millis(500),
            capacity: 100_000,
            max_payload: ByteSize::from_mib(1),
            drain: HumanDuration::from_secs(10),
            announce_again: HumanDuration::from_secs(60),
            exchange: "lambda-events".to_owned(),
            rabbitmq: RabbitmqConfig::default(),
        }
    }
}

impl EventsConfig {
    /// The part that a worker needs.
    #[must_use]
    pub fn worker(&self) -> WorkerSettings {
        WorkerSettings {
            retry: RetryPolicy { first: self.retry_first.get(), most: self.retry_most.get() },
            defer: self.defer.get(),
            lease: self.lease.get(),
            max_deliveries: i32::from(self.max_deliveries),
        }
    }
}

impl Validate for EventsConfig {
    fn validate(&self, report: &mut Report) {
        if self.concurrency_per_function == 0 {
            report.problem("concurrency_per_function", "no event would be worked on", "allow at least 1");
        }
        if self.lease.get() < Duration::from_secs(1) {
            report.problem(
                "lease",
                "an event would be taken by another while it is worked on",
                "write at least \"1s\"",
            );
        }
        for (key, duration) in [
            ("retry_first", self.retry_first),
            ("poll_interval", self.poll_interval),
            ("defer", self.defer),
            ("announce_again", self.announce_again),
        ] {
            if duration.get().is_zero() {
                report.problem(key, "it must be longer than zero", "write a duration such as \"1s\"");
            }
        }
        if self.retry_most.get() < self.retry_first.get() {
            report.problem("retry_most", "it is shorter than `retry_first`", "write a longer duration");
        }
        report.at_least_one("max_deliveries", u64::from(self.max_deliveries));
        report.at_least_one("capacity", self.capacity);
        if self.queue == QueueKind::Rabbitmq {
            report.nested("rabbitmq", |report| self.rabbitmq.validate(report));
            let is_name = !self.exchange.is_empty() && self.exchange.len() <= 200 && !self.exchange.starts_with("amq.");
            if !is_name {
                report.problem("exchange", "it is no name for an exchange", "write e.g. \"lambda-events\"");
            }
        }
    }
}
