//! How workers get to know of events: a port with two implementations.
//!
//! # Contract
//! - **The database decides.** A queue only says that there may be something to do: an event is a worker's once the
//!   worker has its lease, and a queue that says something twice, late or wrongly does no harm.
//! - **Durability.** An event that is in the database is worked on, whatever becomes of the queue.
//! - **Order** is that of acceptance, as far as one worker looks.
//! - **Bound.** A worker takes only what it has room for, and of one function only its share.
//! - **Shutdown.** When `stop` is cancelled nothing more is taken, and [`EventQueue::consume`] returns when the events
//!   in flight have been settled. When `hurry` is cancelled as well, they are given back instead.

mod database;
mod rabbitmq;

use std::{collections::HashMap, future::Future, sync::Arc};

pub use database::DatabaseQueue;
use domain::FunctionId;
pub use rabbitmq::{RabbitmqEvents, RabbitmqQueue, Relay};
use service::ReadinessHandle;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::EventWorker;
use crate::{executor::Executor, store::Taken};

/// See the module's documentation for the contract.
pub trait EventQueue: Send + Sync + 'static {
    /// Hands events to `worker` until `stop`, whatever happens to the broker or the database meanwhile; `ready` says
    /// whether the queue can be reached.
    fn consume<E: Executor>(
        &self,
        worker: Arc<EventWorker<E>>,
        stop: CancellationToken,
        hurry: CancellationToken,
        ready: ReadinessHandle,
    ) -> impl Future<Output = ()> + Send;
}

/// How many events a replica works on at once.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// In all.
    pub most: usize,
    /// Of one function.
    pub per_function: usize,
}

/// The events that are worked on.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    functions: HashMap<Id, FunctionId>,
}

impl Running {
    fn start<E: Executor>(&mut self, taken: Taken, worker: &Arc<EventWorker<E>>, hurry: &CancellationToken) {
        let (worker, hurry, function) = (Arc::clone(worker), hurry.clone(), taken.function_id);
        let task = self.tasks.spawn(async move { worker.work(taken, &hurry).await });
        self.functions.insert(task.id(), function);
    }

    /// The next one to end; never when there are none.
    async fn ended(&mut self) -> Option<()> {
        let id = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(panicked) => {
                tracing::error!(error = %panicked, "working on an event panicked; its lease runs out");
                panicked.id()
            }
        };
        self.functions.remove(&id);
        Some(())
    }

    fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Functions that have their share.
    fn busy(&self, share: Share) -> Vec<FunctionId> {
        let mut counts: HashMap<FunctionId, usize> = HashMap::new();
        for function in self.functions.values() {
            *counts.entry(*function).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| *count >= share.per_function).map(|(function, _)| function).collect()
    }
}
