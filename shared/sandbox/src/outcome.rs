//! What became of a call.

use std::time::Duration;

use serde_json::value::RawValue;

/// What became of one call.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the function returned, or why it did not.
    pub result: FunctionResult,
    /// What it printed, to either stream, in the order it was written.
    pub logs: String,
    /// From the request's first byte to the answer's last.
    pub duration: Duration,
    /// The most memory that the worker's interpreter has had resident so far; 0 where it died untold.
    pub memory_used_bytes: u64,
    /// Whether the worker can take another call. It cannot after a crash, a timeout or a violation of
    /// the protocol; it can after an exception.
    pub worker_reusable: bool,
}

/// What a function returned, or why it did not.
#[derive(Debug, Clone)]
pub enum FunctionResult {
    /// It returned this JSON.
    Success {
        /// The JSON, as the function's interpreter wrote it.
        output: Box<RawValue>,
    },
    /// It raised an exception, crashed, or returned what cannot be passed on.
    Failed {
        /// The reason, for the function's author.
        error: String,
    },
    /// It did not answer in time, and was killed.
    TimedOut {
        /// The reason, for the function's author.
        error: String,
    },
}

impl Outcome {
    /// The error text, unless the call was a success.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match &self.result {
            FunctionResult::Success { .. } => None,
            FunctionResult::Failed { error } | FunctionResult::TimedOut { error } => Some(error),
        }
    }
}
