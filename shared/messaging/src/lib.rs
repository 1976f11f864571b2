//! RabbitMQ as both sides use it: durable quorum queues, publishing that is confirmed, acknowledgement by hand,
//! and connections that are made again.
//!
//! - [`Topology`] says what must exist on the broker; it is declared on every connection.
//! - [`Publisher::publish`] returns once a queue holds the message.
//! - [`Consumer::run`] hands messages over, a bounded number at a time, until it is stopped.
//!
//! A message carries the place in a trace of what it follows from, as W3C's `traceparent` among its headers, and its
//! handler runs below that.
//!
//! Publishing and consuming each have a connection, because a broker that is short of memory stops reading from
//! connections that publish, and must not stop the acknowledgements with them. A consumer has a channel of its
//! own, because an error on a channel ends everything on it.

mod broker;
mod config;
mod consumer;
mod publisher;
mod topology;

pub use broker::{Broker, CountError};
pub use config::RabbitmqConfig;
pub use consumer::{Consumer, Received, SettleError};
pub use publisher::{Message, PublishError, Publisher};
pub use topology::{Queue, TO_QUEUE, Topology};

/// What kind of exchange: how it finds the queues for a message.
pub use lapin::ExchangeKind;
