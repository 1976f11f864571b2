//! An interpreter together with the package that it runs, wherever it runs.

use sandbox::Body;

use super::{Invocation, Outcome, Worker};
use crate::code::PackageLease;

/// An interpreter, and the package that it runs.
pub struct PackagedWorker<B: Body> {
    worker: sandbox::Worker<B>,
    /// Dropped after the worker: files must not go that it may still read.
    _package: Option<PackageLease>,
}

impl<B: Body> PackagedWorker<B> {
    pub(super) fn new(worker: sandbox::Worker<B>, package: Option<PackageLease>) -> Self {
        Self { worker, _package: package }
    }
}

impl<B: Body> Worker for PackagedWorker<B> {
    async fn invoke(&mut self, invocation: &Invocation) -> Outcome {
        self.worker.invoke(invocation).await
    }

    fn is_alive(&self) -> bool {
        self.worker.is_alive()
    }

    async fn stop(self) {
        self.worker.kill().await;
    }
}
