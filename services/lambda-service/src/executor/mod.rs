//! The executor port: what runs a function's code.
//!
//! The pool decides which call goes to which worker and when a worker starts and stops; an executor
//! knows what a worker is. The contract between them:
//!
//! - **Order.** A worker gets one call at a time. [`Worker::invoke`] is called again only after the
//!   previous one answered; a worker whose call was dropped half-way is stopped, never asked again.
//! - **Isolation.** A worker runs the code of the one function it was started with. It keeps that
//!   function's state between calls, and shares nothing with other workers.
//! - **Duplicates.** An executor never runs a call twice, and never starts a worker twice for one
//!   [`Executor::start`]. A call that failed is not tried again: it may have had effects.
//! - **Durability.** None. What a call returned is only in its [`Outcome`].
//! - **Time.** `invoke` answers within the call's timeout plus what it takes to kill the worker;
//!   `start` has a bound of its own.
//! - **Errors.** What the function does wrong (exception, crash, timeout, oversized result) is an
//!   [`Outcome`], not an error. [`StartError::Function`] is the function's fault and is answered as a
//!   failed execution; every other [`StartError`] is the platform's.
//! - **Cancellation.** Dropping a worker, or the future of `start` or `invoke`, leaves no process
//!   behind.

mod assembly;
mod backend;
mod contained;
#[cfg(test)]
pub(crate) mod in_memory;
mod packaged;
mod reserve;
mod sandboxed;

use std::{future::Future, sync::Arc};

pub use assembly::Assembly;
pub use backend::{AnyExecutor, AnyWorker, Backend};
pub(crate) use contained::Engine;
pub use contained::{ContainersConfig, DockerExecutor};
pub use packaged::PackagedWorker;
pub use reserve::{Reserve, Starter};
pub use sandbox::{Invocation, Outcome};
pub use sandboxed::SandboxExecutor;

use crate::{code::CodeError, function::Function};

/// Starts workers.
pub trait Executor: Send + Sync + 'static {
    /// What it starts.
    type Worker: Worker;

    /// Starts a worker with the function's code loaded.
    fn start(&self, function: &Function) -> impl Future<Output = Result<Self::Worker, StartError>> + Send;
}

/// One started worker.
pub trait Worker: Send + 'static {
    /// Runs one call.
    fn invoke(&mut self, invocation: &Invocation) -> impl Future<Output = Outcome> + Send;

    /// Whether it could take another call now.
    fn is_alive(&self) -> bool;

    /// Ends it, with every process that it started.
    fn stop(self) -> impl Future<Output = ()> + Send;
}

/// Why a worker did not start.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StartError {
    /// The function's own doing: its code does not load, has no such handler, or is written for a
    /// runtime that has no interpreter here. The text is the answer's `error`.
    #[error("{error}")]
    Function {
        /// What is wrong, for the function's author.
        error: String,
        /// What the code printed while it was loaded.
        logs: String,
    },
    /// Its code could not be read.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The sandbox could not do its work.
    #[error("the sandbox could not start a worker")]
    Sandbox(#[source] Arc<sandbox::SandboxError>),
    /// Docker could not do its work.
    #[error(transparent)]
    Docker(Arc<containers::ContainerError>),
    /// The executor has not been set up yet.
    #[error("the executor is not ready yet")]
    NotReady,
    /// The start was aborted half-way.
    #[error("the start was aborted")]
    Aborted,
}

impl From<sandbox::StartError> for StartError {
    fn from(error: sandbox::StartError) -> Self {
        match error {
            sandbox::StartError::Function { error, logs } => Self::Function { error, logs },
            sandbox::StartError::Sandbox(error) => Self::Sandbox(Arc::new(error)),
        }
    }
}

impl From<containers::ContainerError> for StartError {
    fn from(error: containers::ContainerError) -> Self {
        Self::Docker(Arc::new(error))
    }
}
