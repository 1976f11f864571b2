//! The executor that the settings name, and what it stands on.

use std::{sync::Arc, time::Duration};

use runtimes::RuntimeSpec;
use sandbox::{Kind, Sandbox, SandboxBody};
use service::Lifecycle;
use tokio::sync::SetOnce;

use super::{
    Assembly, Executor, Invocation, Outcome, PackagedWorker, Reserve, SandboxExecutor, StartError, Worker,
    contained::{ContainerBody, DockerExecutor, Engine},
};
use crate::{
    config::{Config, ExecutorKind},
    dependencies,
    function::Function,
};

/// What starts workers, made ready in the background.
pub struct Backend {
    assembly: Assembly,
    kind: BackendKind,
}

enum BackendKind {
    Sandbox { sandbox: Arc<SetOnce<Sandbox>>, reserve: Arc<Reserve<Sandbox>> },
    Docker { engine: Arc<SetOnce<Engine>>, reserve: Arc<Reserve<Engine>> },
}

/// One of the executors.
pub enum AnyExecutor {
    /// Sandboxes on this machine.
    Sandbox(SandboxExecutor),
    /// Docker's containers on this machine.
    Docker(DockerExecutor),
}

/// A worker of whichever executor.
pub enum AnyWorker {
    /// In a sandbox.
    Sandbox(PackagedWorker<SandboxBody>),
    /// In a container.
    Docker(PackagedWorker<ContainerBody>),
}

impl Backend {
    /// The one that the settings name; `life` owns what makes it ready and keeps it so.
    #[must_use]
    pub fn prepare(life: &Lifecycle, config: &Config, assembly: Assembly) -> Self {
        let kind = match config.executor {
            ExecutorKind::Sandbox => {
                let sandbox = Arc::new(SetOnce::new());
                let reserve = Arc::new(Reserve::new(&config.prewarmed, &config.runtimes, sandbox_kind));
                dependencies::prepare_sandbox(life, config.sandbox.clone(), Arc::clone(&sandbox));
                dependencies::keep_reserve(life, Arc::clone(&reserve), Arc::clone(&sandbox));
                BackendKind::Sandbox { sandbox, reserve }
            }
            ExecutorKind::Docker => {
                let engine = Arc::new(SetOnce::new());
                let reserve = Arc::new(Reserve::new(&config.prewarmed, &config.runtimes, super::contained::kind_of));
                dependencies::prepare_docker(life, config.docker.clone(), Arc::clone(&engine));
                dependencies::keep_reserve(life, Arc::clone(&reserve), Arc::clone(&engine));
                BackendKind::Docker { engine, reserve }
            }
        };
        Self { assembly, kind }
    }

    /// An executor on it. A start waits this long for what it stands on.
    #[must_use]
    pub fn executor(&self, wait: Duration) -> AnyExecutor {
        let assembly = self.assembly.clone();
        match &self.kind {
            BackendKind::Sandbox { sandbox, reserve } => {
                AnyExecutor::Sandbox(SandboxExecutor::new(assembly, Arc::clone(sandbox), Arc::clone(reserve), wait))
            }
            BackendKind::Docker { engine, reserve } => {
                AnyExecutor::Docker(DockerExecutor::new(assembly, Arc::clone(engine), Arc::clone(reserve), wait))
            }
        }
    }
}

fn sandbox_kind(runtime: RuntimeSpec, memory_bytes: u64) -> Option<Kind> {
    Some(Kind { language: runtime.language, interpreter: runtime.interpreter.map(Into::into), memory_bytes })
}

impl Executor for AnyExecutor {
    type Worker = AnyWorker;

    async fn start(&self, function: &Function) -> Result<AnyWorker, StartError> {
        match self {
            Self::Sandbox(executor) => executor.start(function).await.map(AnyWorker::Sandbox),
            Self::Docker(executor) => executor.start(function).await.map(AnyWorker::Docker),
        }
    }
}

impl Worker for AnyWorker {
    async fn invoke(&mut self, invocation: &Invocation) -> Outcome {
        match self {
            Self::Sandbox(worker) => worker.invoke(invocation).await,
            Self::Docker(worker) => worker.invoke(invocation).await,
        }
    }

    fn is_alive(&self) -> bool {
        match self {
            Self::Sandbox(worker) => worker.is_alive(),
            Self::Docker(worker) => worker.is_alive(),
        }
    }

    async fn stop(self) {
        match self {
            Self::Sandbox(worker) => worker.stop().await,
            Self::Docker(worker) => worker.stop().await,
        }
    }
}
