//! A new `bwrap` sandbox, with a new interpreter in it, for each call.

use async_trait::async_trait;
use sandbox::{Sandbox, SandboxConfig};

use super::{Executor, ExecutorError, Job, Run};

#[derive(Debug)]
pub(super) struct SandboxExecutor {
    sandbox: Sandbox,
}

impl SandboxExecutor {
    pub(super) fn new(config: &SandboxConfig) -> Result<Self, ExecutorError> {
        let sandbox = Sandbox::new(config.clone())?;
        tracing::info!(isolation = sandbox.describe(), "functions run in the sandbox, one process a call");
        Ok(Self { sandbox })
    }
}

#[async_trait]
impl Executor for SandboxExecutor {
    async fn run(&self, job: &Job) -> Result<Run, ExecutorError> {
        let outcome = self.sandbox.call_once(&job.code, &job.call).await?;
        Ok(Run { outcome, is_warm_start: false })
    }

    async fn check(&self) -> Result<(), ExecutorError> {
        // It was tried out when it was made, and depends on nothing that comes and goes.
        Ok(())
    }

    async fn close(&self) {}
}
