//! Runs a function: a new process for each call, which is what makes this the legacy.
//!
//! Two backends stand behind [`Executor`]: [`in_sandbox`] starts an interpreter in a `bwrap`
//! sandbox for each call; [`docker`] keeps generic containers and starts an interpreter in one of
//! them for each call. Both speak the sandbox crate's worker protocol, so that a function's outcome
//! does not depend on the backend, nor on the side of the migration.
//!
//! Quirks of the contract that are kept: the stored handler name and memory are not applied (the
//! handler is always `handler`, the memory is one setting for all); the environment is.

mod docker;
mod in_sandbox;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use domain::Runtime;
use layered_config::{ByteSize, HumanDuration, Report, Validate};
use sandbox::{FunctionCode, Invocation, Outcome, SandboxConfig, SandboxError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use docker::DockerExecutor;
pub use docker::{DockerConfig, DockerImage};
use in_sandbox::SandboxExecutor;

/// What runs the functions, and how much of it at a time.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutorConfig {
    /// `sandbox` or `docker`.
    pub kind: ExecutorKind,
    /// How many functions run at once, from requests and events together.
    pub concurrency: u16,
    /// How long a call waits for one of them to end before it fails.
    pub queue_timeout: HumanDuration,
    /// How long the answer of a call that has run waits for a database that is away, so that the call is
    /// recorded. Then it is answered all the same.
    pub record_deadline: HumanDuration,
    /// The memory that every call may use, whatever its function asked for.
    pub memory: ByteSize,
    /// Settings of the sandbox.
    pub sandbox: SandboxConfig,
    /// Settings of Docker.
    pub docker: DockerConfig,
}

/// The backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutorKind {
    /// A new `bwrap` sandbox for each call.
    Sandbox,
    /// A new process in a pooled container for each call.
    Docker,
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        Self {
            kind: ExecutorKind::Sandbox,
            concurrency: 32,
            queue_timeout: HumanDuration::from_secs(30),
            record_deadline: HumanDuration::from_secs(30),
            memory: ByteSize::from_mib(512),
            sandbox: SandboxConfig::default(),
            docker: DockerConfig::default(),
        }
    }
}

impl Validate for ExecutorConfig {
    fn validate(&self, report: &mut Report) {
        if self.concurrency == 0 {
            report.problem("concurrency", "no function could ever run", "allow at least 1");
        }
        if self.memory < ByteSize::from_mib(16) {
            report.problem("memory", "no interpreter runs in less than 16 MiB", "write e.g. \"512 MiB\"");
        }
        match self.kind {
            ExecutorKind::Sandbox => report.nested("sandbox", |report| self.sandbox.validate(report)),
            ExecutorKind::Docker => report.nested("docker", |report| self.docker.validate(report)),
        }
    }
}

/// One call to be made.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) runtime: Runtime,
    pub(crate) code: FunctionCode,
    pub(crate) call: Invocation,
}

/// One call that was made, whatever became of it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    /// Whether it found a container that was there already.
    pub(crate) is_warm_start: bool,
}

/// Why a call could not be made at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecutorError {
    #[error("the sandbox could not run the function")]
    Sandbox(#[from] SandboxError),
    #[error("Docker could not {operation}")]
    Docker { operation: &'static str, source: bollard::errors::Error },
    #[error("no image is configured for the runtime {0}")]
    NoImage(Runtime),
}

/// Runs calls, as many at once as it is asked to.
///
/// - A call has a process of its own, which sees nothing of another call's.
/// - When a call ends, by answer, failure or timeout, or when its future is dropped, every process
///   it started ends.
/// - A function that fails is a [`Run`]; an error means that the machine is at fault, and that
///   the same call may succeed later.
#[async_trait]
pub(crate) trait Executor: Send + Sync + fmt::Debug {
    async fn run(&self, job: &Job) -> Result<Run, ExecutorError>;

    /// Whether calls can be made now.
    async fn check(&self) -> Result<(), ExecutorError>;

    /// Removes what outlives a call. Called once, after the last one.
    async fn close(&self);
}

/// The backend that the configuration asks for.
///
/// Blocks for about 0.1 s while the sandbox is tried out.
pub(crate) fn open(config: &ExecutorConfig) -> Result<Arc<dyn Executor>, ExecutorError> {
    Ok(match config.kind {
        ExecutorKind::Sandbox => Arc::new(SandboxExecutor::new(&config.sandbox)?),
        ExecutorKind::Docker => Arc::new(DockerExecutor::new(config)?),
    })
}
