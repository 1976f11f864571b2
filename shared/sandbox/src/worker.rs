//! One live worker.

use std::time::{Duration, Instant};

use domain::Language;

use crate::{
    Accounts, Body, FunctionCode, FunctionResult, Invocation, Outcome, SandboxBody, SandboxError, StartError,
    channel::Channel,
    conversation::{Broken, LoadFailure},
    outcome::{says_out_of_memory, texts},
};

/// One interpreter with one function's code loaded. Dropping it ends its whole process tree.
#[derive(Debug)]
pub struct Worker<B: Body = SandboxBody> {
    /// Taken when it has been ended.
    body: Option<B>,
    channel: Channel,
    event_limit_bytes: usize,
    language: Language,
    memory_mb: u64,
    /// Cleared while a call runs, so that one that was dropped half-way leaves it cleared.
    is_idle: bool,
}

impl<B: Body> Worker<B> {
    pub(crate) fn new(body: B, channel: Channel, event_limit_bytes: usize, function: &FunctionCode) -> Self {
        Self {
            body: Some(body),
            channel,
            event_limit_bytes,
            language: function.language,
            memory_mb: function.memory_mb(),
            is_idle: false,
        }
    }

    pub(crate) async fn load(mut self, function: &FunctionCode, timeout: Duration) -> Result<Self, StartError> {
        let body = self.body.as_ref().expect("it was put in just now");
        let error = match self.channel.load(function, timeout, body.ended()).await {
            Ok(()) => {
                self.channel.logs().discard_what_is_there().await;
                self.is_idle = true;
                return Ok(self);
            }
            Err(LoadFailure::Refused(error)) => error,
            Err(LoadFailure::Broken(Broken::TimedOut)) => texts::load_timed_out(timeout),
            Err(LoadFailure::Broken(broken)) => self.autopsy(broken, timeout).await.into_error(),
        };
        self.bury().await;
        let logs = self.channel.logs().take();
        if logs.starts_with("bwrap: ") {
            let source = std::io::Error::other(logs.trim().to_owned());
            return Err(SandboxError::Start { operation: "make the sandbox", source }.into());
        }
        Err(StartError::Function { error, logs })
    }

    /// Runs one call. A function's failure is an outcome, not an error. Dropping the future half-way
    /// leaves the worker unusable.
    pub async fn invoke(&mut self, call: &Invocation) -> Outcome {
        let started = Instant::now();
        if call.event.len() > self.event_limit_bytes {
            let error = texts::event_too_large(call.event.len(), self.event_limit_bytes);
            return Outcome::failed(error, self.is_alive());
        }
        if !std::mem::replace(&mut self.is_idle, false) {
            return Outcome::failed(texts::ended(None), false);
        }
        let cpu_before = self.cpu_time();
        let Some(body) = &self.body else { return Outcome::failed(texts::ended(None), false) };
        let (result, told_bytes) = match self.channel.call(call, body.ended()).await {
            Ok(answered) => {
                self.is_idle = answered.reusable;
                (answered.result, answered.peak_memory_bytes)
            }
            Err(broken) => (self.autopsy(broken, call.timeout).await, 0),
        };
        let duration = started.elapsed();
        let cpu_time = self.cpu_time().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        // A program of its own cannot tell, and one that died has not.
        let memory_used_bytes = if told_bytes == 0 { self.peak_memory_bytes() } else { told_bytes };
        if !self.is_idle {
            self.bury().await;
        }
        let logs = self.channel.logs().take();
        Outcome { result, logs, duration, memory_used_bytes, cpu_time, worker_reusable: self.is_idle }
    }

    /// Whether it could take another call now.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.is_idle && self.body.as_ref().is_some_and(|body| !body.has_ended())
    }

    /// Kills the whole process tree and waits until it is gone.
    pub async fn kill(mut self) {
        self.bury().await;
    }

    fn accounts(&self) -> Option<&Accounts> {
        self.body.as_ref().and_then(Body::accounts)
    }

    fn cpu_time(&self) -> Option<Duration> {
        self.accounts().and_then(Accounts::cpu_time)
    }

    fn peak_memory_bytes(&self) -> u64 {
        self.accounts().and_then(Accounts::peak_memory_bytes).unwrap_or(0)
    }

    /// What a worker that gave no answer died of. It may still live.
    async fn autopsy(&mut self, broken: Broken, timeout: Duration) -> FunctionResult {
        let error = match broken {
            Broken::TimedOut => return FunctionResult::TimedOut { error: texts::timed_out(timeout) },
            Broken::Violation(what) => texts::violation(&what),
            Broken::Ended => {
                let ending = self.body.as_mut().expect("a worker is buried after its autopsy").ending().await;
                // What it printed last, before the end that was waited for.
                self.channel.logs().read_what_is_there().await;
                let says_so = says_out_of_memory(self.language, ending.exit_code, self.channel.logs());
                if ending.ran_out_of_memory || says_so {
                    texts::out_of_memory(self.memory_mb)
                } else {
                    texts::ended(ending.exit_code)
                }
            }
        };
        FunctionResult::Failed { error }
    }

    /// Ends the tree, and reads what is left of its log.
    async fn bury(&mut self) {
        if let Some(body) = self.body.take() {
            body.end().await;
            self.channel.logs().read_what_is_there().await;
        }
    }
}
