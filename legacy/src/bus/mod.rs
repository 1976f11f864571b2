//! The event bus: a port with two implementations, [`in_process`] and [`rabbitmq`].
//!
//! # Contract
//! - **Durability.** [`EventBus::publish`] returns `Ok` only when the event survives the death of
//!   this process: recorded in the database (in process), or confirmed by a broker that holds it in
//!   a durable quorum queue (RabbitMQ). Whoever answers a client, or moves a trigger on, does so
//!   after that. On `Err` the event may or may not be on the bus: publish it again with the same id.
//! - **Delivery** is at least once. An event is delivered again when the process dies before it is
//!   settled, and may be delivered twice at a time when a lease or a connection is lost; the
//!   [`Processor`] recognises an event that is done with by its id.
//! - **Order** is that of publication for first deliveries; events in flight at once and events
//!   delivered again overtake each other.
//! - **Bound.** At most `concurrency` events are in flight in this process. The in-process bus
//!   refuses what exceeds its capacity; the broker blocks a publisher by its own limits, and the
//!   publish times out.
//! - **Settlement** is the processor's decision: [`Settlement::Done`] forgets the event,
//!   [`Settlement::Redeliver`] puts a body back to be delivered after the redelivery delay,
//!   [`Settlement::DeadLetter`] passes it to whoever watches dead letters and forgets it. An event
//!   whose settlement cannot be carried out is delivered again as it was.
//! - **Shutdown.** When `stop` is cancelled, [`EventBus::consume`] takes nothing more, lets the
//!   deliveries in flight be settled and returns. What was fetched and not begun goes back.

mod in_process;
mod rabbitmq;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use domain::Event;
use layered_config::{HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service::ReadinessHandle;
use tokio_util::sync::CancellationToken;

use crate::store::Store;

use in_process::InProcessBus;
pub use in_process::InProcessConfig;
pub use messaging::RabbitmqConfig;
use rabbitmq::RabbitmqBus;

/// Which bus, and how its events are worked off.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    /// `in_process` or `rabbitmq`.
    pub kind: BusKind,
    /// How many events this replica works on at once.
    pub concurrency: u16,
    /// How long an event whose function failed waits for its next attempt.
    pub redelivery_delay: HumanDuration,
    /// How long `POST /.well-known/strangler/flush` waits for the end of all events that were accepted.
    pub flush_timeout: HumanDuration,
    /// Settings of the in-process bus.
    pub in_process: InProcessConfig,
    /// Settings of RabbitMQ.
    pub rabbitmq: RabbitmqConfig,
}

/// The implementations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BusKind {
    /// Events wait in the database and are worked off by any replica.
    InProcess,
    /// Events wait in RabbitMQ.
    Rabbitmq,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            kind: BusKind::InProcess,
            concurrency: 8,
            redelivery_delay: HumanDuration::from_secs(5),
            flush_timeout: HumanDuration::from_secs(5),
            in_process: InProcessConfig::default(),
            rabbitmq: RabbitmqConfig::default(),
        }
    }
}

impl Validate for BusConfig {
    fn validate(&self, report: &mut Report) {
        if self.concurrency == 0 {
            report.problem("concurrency", "no event would ever be worked on", "allow at least 1");
        }
        report.longer_than_zero("flush_timeout", self.flush_timeout);
        match self.kind {
            BusKind::InProcess => report.nested("in_process", |report| self.in_process.validate(report)),
            BusKind::Rabbitmq => report.nested("rabbitmq", |report| self.rabbitmq.validate(report)),
        }
    }
}

/// Why an event was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// As many events wait as the bus is configured to hold.
    #[error("the bus is full: {capacity} events wait")]
    Full {
        /// The most that may wait.
        capacity: u32,
    },
    /// The journal of the in-process bus could not be written.
    #[error("the event could not be journalled")]
    Journal(#[source] crate::store::StoreError),
    /// The broker does not have it.
    #[error(transparent)]
    Broker(messaging::PublishError),
}

/// Why it is not known how many events have not ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CountError {
    /// The journal of the in-process bus could not be read.
    #[error("the journal of events could not be read")]
    Journal(#[source] crate::store::StoreError),
    /// The broker did not say.
    #[error("the broker did not say how many events wait")]
    Broker(#[source] messaging::CountError),
}

/// What is to become of a delivered event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Settlement {
    /// It is done with.
    Done,
    /// It shall be delivered again, like this, after the redelivery delay.
    Redeliver(Event),
    /// It is given up; the processor has recorded it.
    DeadLetter,
}

/// What works on delivered events.
#[async_trait]
pub(crate) trait Processor: Send + Sync + 'static {
    /// Works on one delivery to its end. May be called twice for one event.
    async fn process(&self, event: &Event) -> Settlement;
}

/// See the module's documentation for the contract.
#[async_trait]
pub(crate) trait EventBus: Send + Sync + fmt::Debug {
    /// Hands an event over.
    async fn publish(&self, event: &Event) -> Result<(), PublishError>;

    /// Works off events until `stop`, whatever happens to the broker or the database meanwhile;
    /// `readiness` says whether the bus can be reached.
    async fn consume(&self, processor: Arc<dyn Processor>, stop: CancellationToken, readiness: ReadinessHandle);

    /// How many events were accepted and have not been settled. Of those that RabbitMQ has handed out, only this
    /// process's.
    async fn unsettled(&self) -> Result<u64, CountError>;
}

/// The bus that the configuration asks for.
pub(crate) fn open(config: &BusConfig, store: Store) -> Arc<dyn EventBus> {
    match config.kind {
        BusKind::InProcess => Arc::new(InProcessBus::new(config, store)),
        BusKind::Rabbitmq => Arc::new(RabbitmqBus::new(config)),
    }
}
