//! The executor that runs functions in process sandboxes.

use std::sync::{Arc, OnceLock};

use sandbox::{FunctionCode, Sandbox};

use super::{Executor, Invocation, Outcome, StartError, Worker};
use crate::{code::CodeStore, function::Function};

/// Starts sandboxed interpreters.
pub struct SandboxExecutor {
    code: Arc<CodeStore>,
    sandbox: Arc<OnceLock<Sandbox>>,
}

impl SandboxExecutor {
    /// An executor whose sandbox is put into `sandbox` once the machine has passed its probe.
    #[must_use]
    pub fn new(code: Arc<CodeStore>, sandbox: Arc<OnceLock<Sandbox>>) -> Self {
        Self { code, sandbox }
    }
}

impl Executor for SandboxExecutor {
    type Worker = sandbox::Worker;

    async fn start(&self, function: &Function) -> Result<sandbox::Worker, StartError> {
        let sandbox = self.sandbox.get().ok_or(StartError::NotReady)?;
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
