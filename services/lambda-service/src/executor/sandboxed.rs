//! The executor that runs functions in process sandboxes.

use std::{sync::Arc, time::Duration};

use sandbox::{FunctionCode, Sandbox};
use tokio::sync::SetOnce;

use super::{Executor, Invocation, Outcome, StartError, Worker};
use crate::{code::CodeStore, function::Function};

/// Starts sandboxed interpreters.
pub struct SandboxExecutor {
    code: Arc<CodeStore>,
    sandbox: Arc<SetOnce<Sandbox>>,
    sandbox_wait: Duration,
}

impl SandboxExecutor {
    /// An executor whose sandbox is put into `sandbox` once the machine has passed its probe. A start
    /// waits this long for it, so that a service that was started again refuses nobody meanwhile.
    #[must_use]
    pub fn new(code: Arc<CodeStore>, sandbox: Arc<SetOnce<Sandbox>>, sandbox_wait: Duration) -> Self {
        Self { code, sandbox, sandbox_wait }
    }
}

impl Executor for SandboxExecutor {
    type Worker = sandbox::Worker;

    async fn start(&self, function: &Function) -> Result<sandbox::Worker, StartError> {
        let ready = tokio::time::timeout(self.sandbox_wait, self.sandbox.wait());
        let sandbox = ready.await.map_err(|_| StartError::NotReady)?;
        let code = FunctionCode {
            function_id: function.id.to_string(),
            function_name: function.name.clone(),
            language: function.runtime.language(),
            source: self.code.get(&function.code_key).await?,
            handler: function.handler.clone(),
            environment: function.environment.clone(),
            memory_bytes: function.memory_bytes(),
        };
        sandbox.start(&code).await.map_err(|error| match error {
            sandbox::StartError::Function { error, logs } => StartError::Function { error, logs },
            sandbox::StartError::Sandbox(error) => StartError::Sandbox(Arc::new(error)),
        })
    }
}

impl Worker for sandbox::Worker {
    async fn invoke(&mut self, invocation: &Invocation) -> Outcome {
        Self::invoke(self, invocation).await
    }

    fn is_alive(&self) -> bool {
        Self::is_alive(self)
    }

    async fn stop(self) {
        self.kill().await;
    }
}
