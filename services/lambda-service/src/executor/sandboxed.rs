//! The executor that runs functions in process sandboxes.

use std::{sync::Arc, time::Duration};

use runtimes::{Protocol, RuntimeSpec, RuntimesConfig};
use sandbox::{Code, FunctionCode, Launch, Sandbox};
use tokio::sync::SetOnce;

use super::{Executor, Invocation, Outcome, Reserve, StartError, Worker};
use crate::{
    code::{CodeStore, PackageLease, StoredCode},
    function::Function,
};

/// Starts sandboxed interpreters.
pub struct SandboxExecutor {
    code: Arc<CodeStore>,
    runtimes: RuntimesConfig,
    sandbox: Arc<SetOnce<Sandbox>>,
    reserve: Arc<Reserve>,
    sandbox_wait: Duration,
}

impl SandboxExecutor {
    /// An executor whose sandbox is put into `sandbox` once the machine has passed its probe. A start
    /// waits this long for it, so that a service that was started again refuses nobody meanwhile.
    #[must_use]
    pub fn new(
        code: Arc<CodeStore>,
        runtimes: RuntimesConfig,
        sandbox: Arc<SetOnce<Sandbox>>,
        reserve: Arc<Reserve>,
        sandbox_wait: Duration,
    ) -> Self {
        Self { code, runtimes, sandbox, reserve, sandbox_wait }
    }
}

impl SandboxExecutor {
    /// A worker made of an interpreter that waits, or else from nothing.
    async fn start_worker(
        &self,
        sandbox: &Sandbox,
        code: &FunctionCode,
    ) -> Result<sandbox::Worker, sandbox::StartError> {
        let Some(waiting) = self.reserve.take(code) else { return sandbox.start(code).await };
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
        let runtime = self.runtimes.find(&function.runtime);
        let runtime = runtime.map_err(|error| at_fault(error.to_string()))?;
        let ready = tokio::time::timeout(self.sandbox_wait, self.sandbox.wait());
        let sandbox = ready.await.map_err(|_| StartError::NotReady)?;
        let (code, package) = match self.code.get(&function.code_key).await? {
            StoredCode::Source(_) if runtime.protocol != Protocol::BuiltIn => {
                return Err(at_fault(format!("functions of the runtime {} come as packages", function.runtime)));
            }
            StoredCode::Source(source) => (Code::Source(source), None),
            StoredCode::Package(package) => (Code::Folder(package.folder()), Some(package)),
        };
        let code = FunctionCode {
            function_id: function.id.to_string(),
            function_name: function.name.clone(),
            language: runtime.language,
            launch: launch(runtime),
            code,
            handler: function.handler.clone(),
            environment: function.environment.clone(),
            memory_bytes: function.memory_bytes(),
        };
        let started = self.start_worker(sandbox, &code).await.map_err(|error| match error {
            sandbox::StartError::Function { error, logs } => StartError::Function { error, logs },
            sandbox::StartError::Sandbox(error) => StartError::Sandbox(Arc::new(error)),
        });
        Ok(SandboxWorker { worker: started?, _package: package })
    }
}

/// The function cannot run, whatever the machine.
fn at_fault(error: String) -> StartError {
    StartError::Function { error, logs: String::new() }
}

fn launch(runtime: RuntimeSpec) -> Launch {
    Launch {
        interpreter: runtime.interpreter.map(Into::into),
        protocol: match runtime.protocol {
            Protocol::BuiltIn => sandbox::Protocol::Frames,
            Protocol::RuntimeApi { command } => sandbox::Protocol::RuntimeApi { command: command.into() },
        },
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
