//! The executor that runs functions in process sandboxes.

use std::{sync::Arc, time::Duration};

use sandbox::{Code, FunctionCode, Kind, Prewarmed, Sandbox, SandboxBody};
use tokio::sync::SetOnce;

use super::{Assembly, Executor, PackagedWorker, Reserve, StartError, assembly::at_fault, reserve::Starter};
use crate::function::Function;

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

impl Executor for SandboxExecutor {
    type Worker = PackagedWorker<SandboxBody>;

    async fn start(&self, function: &Function) -> Result<PackagedWorker<SandboxBody>, StartError> {
        let ready = tokio::time::timeout(self.sandbox_wait, self.sandbox.wait());
        let sandbox = ready.await.map_err(|_| StartError::NotReady)?;
        let assembled = self.assembly.of(function).await?;
        if matches!(assembled.code.code, Code::InPlace) {
            let error = "a function that is an image runs in Docker, and this service runs functions in sandboxes";
            return Err(at_fault(error.to_owned()));
        }
        let worker = self.start_worker(sandbox, &assembled.code).await?;
        Ok(PackagedWorker::new(worker, assembled.package))
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
