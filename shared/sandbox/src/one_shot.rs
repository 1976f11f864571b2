//! One call over streams that somebody else has opened, such as those of `docker exec`.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    FunctionCode, FunctionResult, Invocation, Limits, Outcome,
    conversation::{Answered, Broken, Conversation, LoadFailure},
    log_capture::LogCapture,
    outcome::{says_out_of_memory, texts},
};

/// How long the streams may stay open after the answer: a child process that the function left behind
/// may hold them.
const CLOSING_DEADLINE: Duration = Duration::from_secs(1);

/// The streams of a process that was started with [`launch_command`](crate::launch_command).
#[derive(Debug)]
pub struct WorkerStreams<W, R, L> {
    /// The process's stdin.
    pub requests: W,
    /// Its stdout.
    pub answers: R,
    /// Its stderr.
    pub logs: L,
}

/// Loads the function's code, calls it once and closes the request stream, which ends the process.
///
/// `exit_code` is awaited only when the streams ended without an answer, to say why; it gives the
/// process's exit code by the shell's convention (128 + signal), or `None` when it is not known. A process
/// that closes its streams and goes on has until the call's timeout, as it has in the sandbox.
/// Killing the process after a timeout, with everything it started, is the caller's part.
pub async fn call_once_over<W, R, L>(
    streams: WorkerStreams<W, R, L>,
    exit_code: impl Future<Output = Option<i32>>,
    function: &FunctionCode,
    call: &Invocation,
    limits: &Limits,
    start_timeout: Duration,
) -> Outcome
where
    W: AsyncWrite + Unpin,
    R: AsyncRead + Unpin,
    L: AsyncRead + Unpin,
{
    let WorkerStreams { requests, answers, logs } = streams;
    let mut conversation = Conversation::new(requests, answers, LogCapture::new(logs, limits.logs.as_usize()), limits);
    let mut started = Instant::now();
    let answered = match conversation.load(function, start_timeout, std::future::pending()).await {
        Err(LoadFailure::Refused(error)) => Ok(Answered::failed(error)),
        Err(LoadFailure::Broken(Broken::TimedOut)) => Ok(Answered::failed(texts::load_timed_out(start_timeout))),
        Err(LoadFailure::Broken(broken)) => Err(broken),
        Ok(()) => {
            conversation.logs.discard_what_is_there().await;
            started = Instant::now();
            if call.event.len() > limits.event.as_usize() {
                Ok(Answered::failed(texts::event_too_large(call.event.len(), limits.event.as_usize())))
            } else {
                conversation.call(call, std::future::pending()).await
            }
        }
    };
    let duration = started.elapsed();
    conversation.close().await;
    // Two streams keep no order between them on the way out of a container: the log is whole at its end.
    let _ = tokio::time::timeout(CLOSING_DEADLINE, conversation.logs.read_to_end()).await;
    let (result, memory_used_bytes) = match answered {
        Ok(answered) => (answered.result, answered.peak_memory_bytes),
        Err(Broken::TimedOut) => (FunctionResult::TimedOut { error: texts::timed_out(call.timeout) }, 0),
        Err(Broken::Violation(what)) => (FunctionResult::Failed { error: texts::violation(&what) }, 0),
        Err(Broken::Ended) => {
            let left = call.timeout.saturating_sub(started.elapsed()).max(CLOSING_DEADLINE);
            let result = match tokio::time::timeout(left, exit_code).await {
                Err(_) => FunctionResult::TimedOut { error: texts::timed_out(call.timeout) },
                Ok(exit_code) if says_out_of_memory(function.language, exit_code, &conversation.logs) => {
                    FunctionResult::Failed { error: texts::out_of_memory(function.memory_mb()) }
                }
                Ok(exit_code) => FunctionResult::Failed { error: texts::ended(exit_code) },
            };
            (result, 0)
        }
    };
    let logs = conversation.logs.take();
    Outcome { result, logs, duration, memory_used_bytes, cpu_time: None, worker_reusable: false }
}
