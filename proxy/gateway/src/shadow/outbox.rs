//! Copies on their way from the threads that serve to those of shadowing.
//!
//! Waking a thread costs about as much as sending a request, and one copy at a time would wake it for each. So
//! copies are gathered for a moment and go together; nobody waits for them.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time,
};

use super::{Shared, mirror::Job};

/// How many are taken at once. The rest follows without a pause.
const MOST_AT_ONCE: usize = 64;

/// Where copies are put. What it holds is bounded, since each copy has its place in the budget before it gets here.
pub(super) struct Outbox(UnboundedSender<Job>);

impl Outbox {
    /// Copies go together that were put here within `gather`.
    pub(super) fn new(workers: &Handle, shared: Arc<Shared>, gather: Duration) -> Self {
        let (sender, jobs) = mpsc::unbounded_channel();
        workers.spawn(hand_out(jobs, shared, gather));
        Self(sender)
    }

    /// Never waits. When the threads of shadowing are gone the copy is dropped, and counted by that.
    pub(super) fn put(&self, job: Job) {
        let _ = self.0.send(job);
    }
}

async fn hand_out(mut jobs: UnboundedReceiver<Job>, shared: Arc<Shared>, gather: Duration) {
    let mut batch = Vec::with_capacity(MOST_AT_ONCE);
    while jobs.recv_many(&mut batch, MOST_AT_ONCE).await > 0 {
        let full = batch.len() == MOST_AT_ONCE;
        for job in batch.drain(..) {
            // Boxed, because a task is moved several times on its way into the runtime and out of it.
            tokio::spawn(Box::pin(job.run(shared.clone())));
        }
        if !full && !gather.is_zero() {
            time::sleep(gather).await;
        }
    }
}
