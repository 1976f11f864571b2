//! Warm workers: which call runs on which one, and how many there are.
//!
//! A worker is a process with one function's code loaded. A function has at most
//! `max_concurrency` of them, all functions together `max_workers`. A call takes the function's
//! latest idle worker; otherwise it waits, and the pool starts workers for those who wait: at most
//! as many as there are free slots, a few at a time, so that a burst on a cold function does not
//! start a process per call. Whichever comes first, a started worker or one that another call
//! returned, goes to the call that has waited longest. When all places are taken, the worker that
//! has been idle longest stops, whosever it is; when none is idle, a function without any worker
//! gets the next place that becomes free.
//!
//! Decisions are made in `ledger`, under one lock that is never held over an await; this module
//! carries them out. A worker in a caller's hand is a [`Lease`]: dropping it, which is what happens
//! when a client goes away, gives the slot back and stops the worker if a call was under way.

mod ledger;
mod policy;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::FunctionId;
use ledger::{Action, Admission, Grant, Ledger, Slot, Start, Ticket};
pub use ledger::{Counts, Limits, Share};
pub use policy::{Policies, Policy};
use tokio::{runtime::Handle, sync::oneshot, time::Instant};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::{
    executor::{Executor, Invocation, Outcome, StartError, Worker},
    function::Function,
    metrics,
};

/// Why a call got no worker.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AcquireError {
    /// As many calls of this function wait as may, or this one waited as long as it may.
    #[error("every worker of the function is busy and its queue is full")]
    Saturated,
    /// The service stops.
    #[error("the pool is closed")]
    Closed,
    /// The worker that was started for it did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

type Reply<E> = oneshot::Sender<Result<Lease<E>, AcquireError>>;
type Books<E> = Ledger<Used<E>, Reply<E>>;
type Actions<E> = Vec<Action<Used<E>, Reply<E>>>;

/// A worker, and how much it was used.
struct Used<E: Executor> {
    worker: E::Worker,
    calls: u64,
    started: Instant,
}

/// Whose calls a pool runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Those of clients.
    Live,
    /// Those that leave no trace.
    DryRun,
}

struct Shared<E: Executor> {
    purpose: Purpose,
    executor: E,
    books: Mutex<Books<E>>,
    policies: Policies,
    queue_wait: Duration,
    idle_ttl: Duration,
    /// Starts and stops under way.
    tasks: TaskTracker,
    runtime: Handle,
}

/// The pool. Clones share one.
pub struct Pool<E: Executor> {
    shared: Arc<Shared<E>>,
}

impl<E: Executor> Clone for Pool<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<E: Executor> Pool<E> {
    /// A pool without workers. A call waits at most `queue_wait` for one; a worker without calls
    /// stops after `idle_ttl`, provided that [`Pool::stop_idle`] is called now and then.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(
        purpose: Purpose,
        executor: E,
        limits: Limits,
        policies: Policies,
        queue_wait: Duration,
        idle_ttl: Duration,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                purpose,
                executor,
                books: Mutex::new(Ledger::new(limits)),
                policies,
                queue_wait,
                idle_ttl,
                tasks: TaskTracker::new(),
                runtime: Handle::current(),
            }),
        }
    }

    /// A worker for one call of `function`, warm or started for it.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub async fn acquire(&self, function: &Arc<Function>) -> Result<Lease<E>, AcquireError> {
        let (version, policy) = (function.version(), *self.shared.policies.of(function));
        let deadline = Instant::now() + self.shared.queue_wait;
        loop {
            let mut receiver = None;
            let admission = self.shared.decide(|books, actions| {
                let reply = || {
                    let (sender, waiting) = oneshot::channel();
                    receiver = Some(waiting);
                    sender
                };
                books.admit(function, version, policy.share, reply, actions)
            });
            let lease = match admission {
                Admission::Granted(grant) => Lease::new(&self.shared, grant, policy),
                Admission::Queued(ticket) => {
                    let receiver = receiver.expect("a queued call made its reply channel");
                    self.wait(function.id, ticket, receiver, deadline).await?.with(policy)
                }
                Admission::Full => return Err(AcquireError::Saturated),
                Admission::Closed => return Err(AcquireError::Closed),
            };
            // It may have died while it was idle (the kernel was short of memory, for one).
            if lease.is_alive() {
                return Ok(lease);
            }
            lease.discard();
        }
    }

    async fn wait(
        &self,
        function: FunctionId,
        ticket: Ticket,
        receiver: oneshot::Receiver<Result<Lease<E>, AcquireError>>,
        deadline: Instant,
    ) -> Result<Lease<E>, AcquireError> {
        // Declared before the receiver is moved into the future: when this future is dropped, the
        // receiver goes first (and with it a lease that was already sent), then the ticket.
        let _place = PlaceInQueue { shared: &self.shared, function, ticket };
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(AcquireError::Closed),
            Err(_) => Err(AcquireError::Saturated),
        }
    }

    /// Starts what a function is to have at least, at the version that it is now.
    pub fn ensure(&self, function: &Arc<Function>) {
        let (version, policy) = (function.version(), self.shared.policies.of(function));
        self.shared.decide(|books, actions| books.ensure(function, version, policy.share, actions));
    }

    /// The names of functions that are to have workers though nobody calls them.
    pub fn provisioned(&self) -> impl Iterator<Item = &str> {
        self.shared.policies.provisioned()
    }

    /// Starts a worker for the calls to come, unless one is there, without waiting for it. It takes its place in the
    /// queue like a call.
    pub fn warm(&self, function: Arc<Function>) {
        let pool = self.clone();
        let warming = async move {
            if let Err(error) = pool.acquire(&function).await {
                tracing::info!(function_id = %function.id, %error, "the function was not warmed");
            }
        };
        self.shared.tasks.spawn_on(warming, &self.shared.runtime);
    }

    /// The function was deleted: none of its workers takes another call.
    pub fn evict(&self, function: FunctionId) {
        self.shared.decide(|books, actions| books.evict(function, actions));
    }

    /// Stops the workers that nobody called for the idle time.
    pub fn stop_idle(&self) {
        if let Some(before) = Instant::now().checked_sub(self.shared.idle_ttl) {
            self.shared.decide(|books, actions| books.expire(before, actions));
        }
    }

    /// How many workers and waiting calls there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts()
    }

    /// Refuses new calls, stops idle workers and waits until every worker has stopped. Workers in a
    /// call stop when it ends.
    pub async fn close(&self) {
        self.shared.decide(|books, actions| books.close(actions));
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl<E: Executor> Shared<E> {
    fn lock(&self) -> MutexGuard<'_, Books<E>> {
        // The ledger has no await and no foreign code inside; a poisoned lock is a broken invariant
        // that was reported where it broke.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide<T>(self: &Arc<Self>, decision: impl FnOnce(&mut Books<E>, &mut Actions<E>) -> T) -> T {
        let mut actions = Vec::new();
        let (decided, counts) = {
            let mut books = self.lock();
            (decision(&mut books, &mut actions), books.counts())
        };
        metrics::pool(self.purpose, counts);
        for action in actions {
            self.act(action);
        }
        decided
    }

    /// Never called with the lock held: a refused grant drops its lease, which takes the lock.
    fn act(self: &Arc<Self>, action: Action<Used<E>, Reply<E>>) {
        match action {
            Action::Start(start) => {
                let span = tracing::info_span!("worker_start", function_id = %start.function.id);
                let shared = Arc::clone(self);
                self.tasks.spawn_on(async move { shared.start(start).await }.instrument(span), &self.runtime);
            }
            Action::Grant(reply, grant) => {
                // The one who waited may be gone; the lease comes back then, and is given back.
                drop(reply.send(Ok(Lease::new(self, grant, self.policies.usual))));
            }
            Action::Kill(worker) => {
                self.tasks.spawn_on(worker.worker.stop(), &self.runtime);
            }
            Action::Refuse(reply) => drop(reply.send(Err(AcquireError::Closed))),
            Action::Fail(reply, error) => drop(reply.send(Err(AcquireError::Start(error)))),
        }
    }

    async fn start(self: Arc<Self>, start: Start) {
        let mut guard = StartGuard { shared: &self, start: Some(start) };
        let begin = Instant::now();
        let function = Arc::clone(&guard.start.as_ref().expect("it was put in just now").function);
        let started = self.executor.start(&function).await;
        if self.purpose == Purpose::Live {
            metrics::worker_started(begin.elapsed(), started.is_ok());
        }
        let start = guard.start.take().expect("only this line takes it");
        match started {
            Ok(worker) => {
                let worker = Used { worker, calls: 0, started: Instant::now() };
                tracing::debug!(start_ms = begin.elapsed().as_millis(), "worker started");
                self.decide(|books, actions| books.started(&start, worker, Instant::now(), actions));
            }
            Err(error) => {
                if !matches!(error, StartError::Function { .. }) {
                    let cause: &dyn std::error::Error = &error;
                    tracing::error!(error = cause, "a worker did not start");
                }
                self.decide(|books, actions| books.start_failed(&start, &error, actions));
            }
        }
    }
}

/// Gives a start's slot back if the executor panics.
struct StartGuard<'a, E: Executor> {
    shared: &'a Arc<Shared<E>>,
    start: Option<Start>,
}

impl<E: Executor> Drop for StartGuard<'_, E> {
    fn drop(&mut self) {
        if let Some(start) = self.start.take() {
            self.shared.decide(|books, actions| books.start_failed(&start, &StartError::Aborted, actions));
        }
    }
}

/// A waiting call's place, given up when it stops waiting for whatever reason.
struct PlaceInQueue<'a, E: Executor> {
    shared: &'a Arc<Shared<E>>,
    function: FunctionId,
    ticket: Ticket,
}

impl<E: Executor> Drop for PlaceInQueue<'_, E> {
    fn drop(&mut self) {
        self.shared.decide(|books, _| books.abandoned(self.function, self.ticket));
    }
}

/// A worker in a caller's hand.
pub struct Lease<E: Executor> {
    shared: Arc<Shared<E>>,
    slot: Slot,
    is_warm: bool,
    policy: Policy,
    worker: Option<Used<E>>,
    /// Between the beginning of a call and its answer the worker's state is unknown.
    in_call: bool,
}

impl<E: Executor> Lease<E> {
    fn new(shared: &Arc<Shared<E>>, grant: Grant<Used<E>>, policy: Policy) -> Self {
        Self {
            shared: Arc::clone(shared),
            slot: grant.slot(),
            is_warm: grant.is_warm,
            policy,
            worker: Some(grant.worker),
            in_call: false,
        }
    }

    /// What was granted out of the queue learns of its function's policy here.
    fn with(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Whether the worker was there before the call asked for one.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.is_warm
    }

    /// Runs the call and gives the worker back.
    pub async fn invoke(mut self, invocation: &Invocation) -> Outcome {
        self.in_call = true;
        let worker = self.worker.as_mut().expect("a lease holds its worker until it ends");
        worker.calls += 1;
        let outcome = worker.worker.invoke(invocation).await;
        self.in_call = !outcome.worker_reusable;
        outcome
    }

    fn is_alive(&self) -> bool {
        self.worker.as_ref().is_some_and(|used| used.worker.is_alive())
    }

    fn discard(mut self) {
        self.in_call = true;
    }
}

impl<E: Executor> Drop for Lease<E> {
    fn drop(&mut self) {
        let Some(worker) = self.worker.take() else { return };
        let may_go_on = self.policy.may_go_on(worker.calls, worker.started.elapsed());
        let fit = !self.in_call && may_go_on && worker.worker.is_alive();
        self.shared.decide(|books, actions| {
            if fit {
                books.released(self.slot, worker, Instant::now(), actions);
            } else {
                books.lost(self.slot, actions);
                actions.push(Action::Kill(worker));
            }
        });
    }
}
