//! AWS's Runtime API (2018-06-01) in front of a worker: the host's half.
//!
//! The runtime inside the sandbox is a program that the package or the runtime brings: AWS's own interface client, or
//! any `bootstrap`. It asks for invocations over HTTP at `127.0.0.1:9001`, which is a listener of the host inside the sandbox's
//! network namespace: the sandbox has no other network, and no other sandbox has this one.
//!
//! | request | answer |
//! |---|---|
//! | `GET /2018-06-01/runtime/invocation/next` | 200, the event, and what it is in `Lambda-Runtime-*` headers; it waits until there is one |
//! | `POST …/runtime/invocation/{id}/response` | 202; 413 when it is too large, which is the call's answer then |
//! | `POST …/runtime/invocation/{id}/error` | 202, with `{errorMessage, errorType, stackTrace}` |
//! | `POST …/runtime/init/error` | 202; the runtime did not start |
//!
//! Out of turn: 403 `InvalidStateTransition`; an id that never was: 400 `InvalidRequestID`; the id of an invocation that is over: 410
//! `InvocationExpired`. None of it changes anything.

mod desk;
mod error_text;
mod namespace;
mod pace;
mod server;

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::{
    net::{TcpListener, unix::pipe},
    sync::Notify,
};
use tokio_util::task::AbortOnDropHandle;

use self::{
    desk::{Desk, Offer, Readiness, Reply},
    pace::Pace,
};
use crate::{
    FunctionCode, FunctionResult, Invocation, Limits,
    conversation::{Answered, Broken, LoadFailure, passed},
    log_capture::LogCapture,
};

pub(crate) use namespace::{ADDRESS, listen_inside};

/// One runtime, its HTTP server and its log.
#[derive(Debug)]
pub(crate) struct RuntimeApi {
    counter: Arc<Counter>,
    pub(crate) logs: LogCapture<pipe::Receiver>,
    _server: AbortOnDropHandle<()>,
}

/// What the host and the server share.
#[derive(Debug)]
pub(crate) struct Counter {
    desk: Mutex<Desk>,
    /// Rung when the host may find something.
    host: Notify,
    /// Rung when the runtime may find something.
    runtime: Notify,
    pace: Pace,
    function_arn: String,
    output_limit_bytes: usize,
}

impl RuntimeApi {
    /// Serves the runtime behind `listener`, within a tokio runtime.
    pub(crate) fn new(listener: TcpListener, logs: pipe::Receiver, function: &FunctionCode, limits: &Limits) -> Self {
        let counter = Arc::new(Counter {
            desk: Mutex::new(Desk::new()),
            host: Notify::new(),
            runtime: Notify::new(),
            pace: Pace::new(Instant::now()),
            function_arn: function_arn(function),
            output_limit_bytes: limits.output.as_usize(),
        });
        let server = tokio::spawn(server::serve(listener, Arc::clone(&counter)));
        Self {
            counter,
            logs: LogCapture::of_pipe(logs, limits.logs.as_usize()),
            _server: AbortOnDropHandle::new(server),
        }
    }

    /// Waits until the runtime asks for its first invocation. `gone` ends when its process is known to have ended.
    pub(crate) async fn load(&mut self, timeout: Duration, gone: impl Future<Output = ()>) -> Result<(), LoadFailure> {
        let counter = Arc::clone(&self.counter);
        let ready = counter.look(|desk| match desk.readiness() {
            Readiness::Starting => None,
            Readiness::Ready => Some(Ok(())),
            Readiness::Failed(error) => Some(Err(LoadFailure::Refused(error))),
        });
        let waited = self.within(timeout, gone, ready).await;
        self.logs.read_what_is_there().await;
        waited.map_err(LoadFailure::Broken)?
    }

    /// Runs one call, and reads all that it printed.
    pub(crate) async fn call(&mut self, call: &Invocation, gone: impl Future<Output = ()>) -> Result<Answered, Broken> {
        let stray_bytes = self.logs.discard_what_is_there().await;
        if stray_bytes > 0 {
            tracing::debug!(stray_bytes, "dropped what the function printed between two calls");
        }
        let counter = Arc::clone(&self.counter);
        let offer = Offer {
            id: call.execution_id.clone(),
            event: call.event.clone(),
            deadline_ms: now_ms() + call.timeout.as_millis(),
        };
        if !counter.lock().offer(offer) {
            return Err(Broken::Violation("the runtime is not ready for a call".to_owned()));
        }
        counter.pace.refill(Instant::now());
        counter.runtime.notify_waiters();
        let reply = counter.look(|desk| desk.take_reply(&call.execution_id));
        let answered = self.within(call.timeout, gone, reply).await;
        if answered.is_err() {
            counter.lock().withdraw();
        }
        self.logs.read_what_is_there().await;
        answered.map(accept)
    }

    /// Waits for `wanted`, with the log stream read all the while. What is wanted counts even when the
    /// process ended right after it.
    async fn within<T>(
        &mut self,
        timeout: Duration,
        gone: impl Future<Output = ()>,
        wanted: impl Future<Output = T>,
    ) -> Result<T, Broken> {
        let deadline = tokio::time::Instant::now().checked_add(timeout);
        tokio::select! {
            biased;
            found = wanted => Ok(found),
            () = gone => Err(Broken::Ended),
            () = passed(deadline) => Err(Broken::TimedOut),
            () = self.logs.read_forever() => unreachable!("a future that never ends"),
        }
    }
}

impl Counter {
    fn lock(&self) -> MutexGuard<'_, Desk> {
        // The desk has no await and no foreign code inside.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host looks until there is what it looks for. One at a time.
    async fn look<T>(&self, mut find: impl FnMut(&mut Desk) -> Option<T>) -> T {
        loop {
            if let Some(found) = find(&mut self.lock()) {
                return found;
            }
            // A ring that came since is kept.
            self.host.notified().await;
        }
    }
}

fn accept(reply: Reply) -> Answered {
    let (result, reusable) = match reply {
        Reply::Response(body) => (result_of(body), true),
        Reply::Error(error) => (FunctionResult::Failed { error }, true),
        Reply::TooLarge(error) => (FunctionResult::Failed { error }, false),
    };
    Answered { result, peak_memory_bytes: 0, reusable }
}

/// A response is JSON; none at all is `null`.
fn result_of(body: Bytes) -> FunctionResult {
    let text = if body.is_empty() { Ok("null".to_owned()) } else { String::from_utf8(body.into()) };
    let output = text.ok().and_then(|text| RawValue::from_string(text).ok());
    match output {
        Some(output) => FunctionResult::Success { output },
        None => FunctionResult::Failed { error: "the result is not JSON".to_owned() },
    }
}

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis())
}

/// What the runtime is told that it was invoked as. A name that no ARN may hold gives way to the id.
fn function_arn(function: &FunctionCode) -> String {
    let name = &function.function_name;
    let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let shown = if fits && !name.is_empty() { name } else { &function.function_id };
    let shown: String = shown.chars().filter(char::is_ascii_graphic).collect();
    format!("arn:aws:lambda:local:000000000000:function:{shown}")
}
