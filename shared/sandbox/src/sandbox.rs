//! Starts workers.

use crate::{FunctionCode, Invocation, Outcome, SandboxConfig, SandboxError, StartError, Worker};

/// Starts workers in `bwrap` sandboxes.
#[derive(Debug, Clone)]
pub struct Sandbox {}

impl Sandbox {
    /// Finds `bwrap` and the interpreters and tries them. Blocks for about 0.1 s.
    ///
    /// # Errors
    /// Says what is missing on this machine and how to mend it.
    pub fn new(_config: SandboxConfig) -> Result<Self, SandboxError> {
        unimplemented!("the public signatures come first, for those who build on them")
    }

    /// How workers are isolated on this machine, in one line for the log.
    #[must_use]
    pub fn describe(&self) -> String {
        unimplemented!()
    }

    /// Cold start: a worker with the function's code loaded.
    ///
    /// # Errors
    /// [`StartError::Function`] when the code is at fault, [`StartError::Sandbox`] when the machine is.
    pub async fn start(&self, _function: &FunctionCode) -> Result<Worker, StartError> {
        unimplemented!()
    }

    /// Starts a worker, calls it once and kills it. A function that does not load is a failed outcome.
    ///
    /// # Errors
    /// Only when the machine is at fault.
    pub async fn call_once(&self, _function: &FunctionCode, _call: &Invocation) -> Result<Outcome, SandboxError> {
        unimplemented!()
    }
}
