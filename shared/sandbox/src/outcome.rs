//! What became of a call.

use std::time::Duration;

use domain::Language;
use nix::sys::signal::Signal;
use serde_json::value::RawValue;
use tokio::io::AsyncRead;

use crate::log_capture::LogCapture;

/// What became of one call.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the function returned, or why it did not.
    pub result: FunctionResult,
    /// What it printed, to either stream, in the order it was written.
    pub logs: String,
    /// From the request's first byte to the answer's last.
    pub duration: Duration,
    /// The most memory that the worker's interpreter has had resident so far; of a program of its own or one that died
    /// untold, what its whole tree has had at a time; 0 where that is not counted.
    pub memory_used_bytes: u64,
    /// CPU time of the worker's whole process tree during the call, where a control group counts it.
    pub cpu_time: Option<Duration>,
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

    /// A call that never reached the function.
    pub(crate) fn failed(error: String, worker_reusable: bool) -> Self {
        Self {
            result: FunctionResult::Failed { error },
            logs: String::new(),
            duration: Duration::ZERO,
            memory_used_bytes: 0,
            cpu_time: None,
            worker_reusable,
        }
    }

    /// A call of a function whose code does not load.
    pub(crate) fn not_loaded(error: String, logs: String, duration: Duration) -> Self {
        Self { logs, duration, ..Self::failed(error, false) }
    }
}

impl FunctionResult {
    /// The error text; none for a success.
    pub(crate) fn into_error(self) -> String {
        match self {
            Self::Success { .. } => String::new(),
            Self::Failed { error } | Self::TimedOut { error } => error,
        }
    }
}

/// Whether V8's last words say that its heap was full. It ends by a signal then, and cannot answer.
pub(crate) fn says_out_of_memory<L: AsyncRead + Unpin>(
    language: Language,
    exit_code: Option<i32>,
    logs: &LogCapture<L>,
) -> bool {
    let by_its_own_signal =
        [Signal::SIGABRT, Signal::SIGTRAP, Signal::SIGILL].iter().any(|signal| exit_code == Some(128 + *signal as i32));
    language == Language::Node && by_its_own_signal && logs.contains("out of memory")
}

/// The texts that say how a function ended without an answer. They are part of what both sides of the
/// migration answer alike, so every backend takes them from here.
pub(crate) mod texts {
    use std::time::Duration;

    use nix::sys::signal::Signal;

    /// By the exit code of the interpreter, with the shell's convention of 128 + signal that `bwrap` and
    /// Docker share; `None` when it is not known.
    pub(crate) fn ended(exit_code: Option<i32>) -> String {
        let Some(code) = exit_code else {
            return "the function ended before it answered".to_owned();
        };
        match Signal::try_from(code - 128) {
            Ok(signal) => {
                format!("the function was killed by signal {} ({signal}) before it answered", signal as i32)
            }
            Err(_) => format!("the function exited with status {code} before it answered"),
        }
    }

    pub(crate) fn out_of_memory(memory_mb: u64) -> String {
        format!("the function used more memory than its limit of {memory_mb} MB")
    }

    pub(crate) fn timed_out(timeout: Duration) -> String {
        format!("the function did not answer within {}", seconds(timeout))
    }

    pub(crate) fn load_timed_out(timeout: Duration) -> String {
        format!("the function's code was not loaded within {}", seconds(timeout))
    }

    pub(crate) fn violation(what: &str) -> String {
        format!("the function broke the worker protocol: {what}")
    }

    pub(crate) fn event_too_large(event_bytes: usize, limit_bytes: usize) -> String {
        format!("the event is {event_bytes} bytes; the limit is {limit_bytes}")
    }

    fn seconds(time: Duration) -> String {
        if time.subsec_millis() == 0 { format!("{} s", time.as_secs()) } else { format!("{} ms", time.as_millis()) }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_exit_code_is_a_status_or_a_signal() {
            for (code, text) in [
                (Some(0), "the function exited with status 0 before it answered"),
                (Some(3), "the function exited with status 3 before it answered"),
                (Some(137), "the function was killed by signal 9 (SIGKILL) before it answered"),
                (Some(139), "the function was killed by signal 11 (SIGSEGV) before it answered"),
                (Some(255), "the function exited with status 255 before it answered"),
                (None, "the function ended before it answered"),
            ] {
                assert_eq!(ended(code), text);
            }
        }

        #[test]
        fn a_timeout_names_its_length() {
            assert_eq!(timed_out(Duration::from_secs(3)), "the function did not answer within 3 s");
            assert_eq!(timed_out(Duration::from_millis(1500)), "the function did not answer within 1500 ms");
        }
    }
}
