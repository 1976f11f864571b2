//! How jobs get from masters to workers: a port with two implementations.
//!
//! # Contract
//! - **The database decides.** A queue only says that there may be something to do: a job is a worker's once
//!   the worker has its lease ([`Store::take_any`](crate::store::Store::take_any)), and a queue that
//!   says something twice, late or wrongly does no harm.
//! - **Durability.** A job that is in the database is built, whatever becomes of the queue: whoever watches
//!   over leases announces again what nobody works on.
//! - **Order** is that of asking, as far as one worker looks; several overtake each other.
//! - **Bound.** A worker takes only what it has room for.
//! - **Shutdown.** When `stop` is cancelled nothing more is taken, and [`JobQueue::consume`] returns when the
//!   builds that run have ended or given their jobs back.

mod database;
mod rabbitmq;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use service::ReadinessHandle;
use tokio_util::sync::CancellationToken;

pub use database::DatabaseQueue;
pub use rabbitmq::{RabbitmqJobs, RabbitmqQueue, Relay};

use crate::worker::Worker;

/// See the module's documentation for the contract.
#[async_trait]
pub trait JobQueue: Send + Sync + fmt::Debug {
    /// Hands jobs to `worker` until `stop`, whatever happens to the broker or the database meanwhile;
    /// `ready` says whether the queue can be reached.
    async fn consume(&self, worker: Arc<Worker>, stop: CancellationToken, ready: ReadinessHandle);
}
