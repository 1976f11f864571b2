//! The executor that runs functions in process sandboxes.

use std::{sync::Arc, time::Duration};

use sandbox::{Code, FunctionCode, Kind, Prewarmed, Sandbox};
use tokio::sync::SetOnce;

use super::{
    Assembly, Executor, Invocation, Outcome, Reserve, StartError, Worker, assembly::at_fault, reserve::Starter,
};
use crate::{code::PackageLease, function::Function};

/// Starts sandboxed interpreters.
pub struct SandboxExecutor {
    assembly: Assembly,
    sandbox: Arc<SetOnce<Sandbox>>,
    reserve: Arc<Reserve<Sandbox>>,
    sandbox_wait: Duration,
}

impl SandboxExecutor {
    /// An executor whose sandbox is put into `sandbox` once the machine has passed its probe. A start
    /// waits this long for it, so that a service that was started again refuses nobody meanwhile.
    #[must_use]
    pub fn new(
        assembly: Assembly,
        sandbox: Arc<SetOnce<Sandbox>>,
        reserve: Arc<Reserve<Sandbox>>,
        sandbox_wait: Duration,
    ) -> Self {
        Self { assembly, sandbox, reserve, sandbox_wait }
    }

    /// A worker made of an interpreter that waits, or else from nothing.
    async fn start_worker(
        &self,
        sandbox: &Sandbox,
        code: &FunctionCode,
    ) -> Result<sandbox::Worker, sandbox::StartError> {
        let waiting = Kind::of(code).and_then(|kind| self.reserve.take(&kind, |first| first.fits(code)));
        let Some(waiting) = waiting else { return sandbox.start(code).await };
        match waiting.become_worker(code).await {
            Err(sandbox::StartError::Sandbox(error)) => {
                tracing::warn!(%error, "an interpreter that waited could not be used");
                sandbox.start(code).await
            }
            started => started,
        }
    }
}

/// A sandboxed interpreter, and the package that it runs.
pub struct SandboxWorker {
    worker: sandbox::Worker,
    /// Dropped after the worker: files must not go that it may still read.
    _package: Option<PackageLease>,
}

impl Executor for SandboxExecutor {
    type Worker = SandboxWorker;

    async fn start(&self, function: &Function) -> Result<SandboxWorker, StartError> {
        let ready = tokio::time::timeout(self.sandbox_wait, self.sandbox.wait());
        let sandbox = ready.await.map_err(|_| StartError::NotReady)?;
        let assembled = self.assembly.of(function).await?;
        if matches!(assembled.code.code, Code::InPlace) {
            let error = "a function that is an image runs in Docker, and this service runs functions in sandboxes";
            return Err(at_fault(error.to_owned()));
        }
        let worker = self.start_worker(sandbox, &assembled.code).await?;
        Ok(SandboxWorker { worker, _package: assembled.package })
    }
}

impl Worker for SandboxWorker {
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

impl Starter for Sandbox {
    type Kind = Kind;
    type Waiting = Prewarmed;

    async fn prewarm(&self, kind: &Kind) -> Result<Prewarmed, StartError> {
        Ok(Self::prewarm(self, kind).await?)
    }

    fn is_alive(waiting: &mut Prewarmed) -> bool {
        waiting.is_alive()
    }
}
