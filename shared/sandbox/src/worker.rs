//! One live worker.

use crate::{Invocation, Outcome};

/// One interpreter with one function's code loaded. Dropping it kills its whole process tree.
#[derive(Debug)]
pub struct Worker {}

impl Worker {
    /// Runs one call. A function's failure is an outcome, not an error. Dropping the future half-way
    /// leaves the worker unusable.
    pub async fn invoke(&mut self, _call: &Invocation) -> Outcome {
        unimplemented!("the public signatures come first, for those who build on them")
    }

    /// Whether it could take another call now.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        unimplemented!()
    }

    /// Kills the whole process tree and waits until it is gone.
    pub async fn kill(self) {
        unimplemented!()
    }
}
