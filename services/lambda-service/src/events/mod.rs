//! Events: calls of functions that are accepted now and made later.
//!
//! ```text
//! asynchronous calls ─┐                       ┌── queue (rows, or RabbitMQ) ◄── retries, with backoff
//! webhooks ───────────┼─► intake ─► event_queue ─► worker ─► invocation
//! cron triggers ──────┤   (one transaction)           └─► audit, dead letter, gone from the queue
//! subscriptions ──────┘                                     (one transaction)
//! ```
//!
//! # What is promised
//! - **Accepted is not lost.** Whoever is answered that an event is accepted knows that its row is committed. It
//!   ends as a success, or as a dead letter when its function failed `max_retries` times after the first, whatever is
//!   killed meanwhile.
//! - **At least once, ended once.** A function may be called again for an event when a process died over it. Its end
//!   is one row of the audit, by a unique index on the event's id; it is written in the transaction that takes the
//!   event from the queue, by whoever has its lease.
//! - **An id is one event.** Accepting an id that waits or has ended changes nothing.
//! - **Retries** wait exponentially longer, with jitter. What is the platform's fault (no worker free, code store
//!   away) is none of them.
//! - **Order** is that of acceptance for first attempts; events in flight at once overtake each other.
//!
//! The database decides; a queue only says that there may be something to do ([`queue`]).

mod config;
mod intake;
mod metrics;
pub mod queue;
mod retry;
mod start;
mod trace;
mod worker;

pub use config::{EventsConfig, QueueKind};
pub use intake::{Intake, IntakeError};
pub(crate) use start::start;
pub(crate) use trace::note;
pub use worker::{EventWorker, WorkerSettings};
