//! One call, from the function's row to the answer.
//!
//! 1. The function is looked up as it is now, or was a moment ago: see `cache`.
//! 2. Room for the history's row is taken, so that nothing runs that could not be recorded.
//! 3. The pool gives a worker; the function runs.
//! 4. The row is in the journal; then the answer leaves.
//!
//! A client that leaves while its function runs ends the run: the worker is stopped, its slot is
//! free, and the history says so.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use chrono::{DateTime, Utc};
use domain::{ExecutionId, ExecutionStatus, FunctionId, contract::InvokeResponse};
use sandbox::FunctionResult;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::{
    cache::Functions,
    executor::{Executor, Invocation, Outcome, StartError},
    function::Function,
    metrics,
    pool::{AcquireError, Lease, Pool},
    recorder::{Permit, Record, RecordError, Recorder},
    store::{Store, StoreError},
};

/// Why a call was not run, or not answered.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// There is no such function.
    #[error("there is no such function")]
    NotFound,
    /// Its row could not be read.
    #[error("the function could not be looked up")]
    Lookup(#[source] Arc<StoreError>),
    /// No worker could be had.
    #[error("no worker for the function")]
    Worker(#[source] AcquireError),
    /// The history could not take the execution.
    #[error("the execution could not be recorded")]
    Record(#[from] RecordError),
}

/// Runs calls.
pub struct Invoker<E: Executor> {
    /// Where everything is.
    pub store: Store,
    /// Where functions are looked up.
    pub functions: Arc<Functions>,
    /// Where they run.
    pub pool: Pool<E>,
    /// Where their executions go.
    pub recorder: Recorder,
    /// The longest an answer waits for the database when the journal refused its row.
    pub record_deadline: Duration,
}

impl<E: Executor> Invoker<E> {
    /// Runs one call; the event is one JSON value.
    ///
    /// # Errors
    /// When it was not run or cannot be answered. A function that fails is an answer.
    pub async fn invoke(&self, id: FunctionId, event: Bytes) -> Result<InvokeResponse, InvokeError> {
        let function = self.functions.find(id).await.map_err(InvokeError::Lookup)?.ok_or(InvokeError::NotFound)?;
        let permit = self.recorder.permit().inspect_err(|_| metrics::refused("history_full"))?;
        let execution = ExecutionId::generate();
        tracing::Span::current().record("execution_id", tracing::field::display(execution));
        let asked = Instant::now();
        let mut run = Run {
            permit: Some(permit),
            execution,
            function: id,
            started_at: Utc::now(),
            started: asked,
            is_warm: None,
        };

        let outcome = match self.pool.acquire(&function).await {
            Ok(lease) => {
                metrics::queued(asked.elapsed());
                run.begin(&lease);
                lease.invoke(&invocation(execution, &function, event)).instrument(call_span(&function)).await
            }
            Err(AcquireError::Start(StartError::Function { error, logs })) => {
                metrics::queued(asked.elapsed());
                did_not_load(error, logs)
            }
            Err(error) => {
                run.permit = None;
                metrics::refused(match error {
                    AcquireError::Saturated => "saturated",
                    AcquireError::Closed => "closing",
                    AcquireError::Start(_) => "not_started",
                });
                return Err(InvokeError::Worker(error));
            }
        };
        run.end(outcome, self.record_deadline).await
    }
}

/// What a worker is given.
pub(crate) fn invocation(execution: ExecutionId, function: &Function, event: Bytes) -> Invocation {
    Invocation { execution_id: execution.to_string(), event, timeout: function.timeout() }
}

/// Code that does not load is a failed execution: the function was called, and this is its answer.
pub(crate) fn did_not_load(error: String, logs: String) -> Outcome {
    Outcome {
        result: FunctionResult::Failed { error },
        logs,
        duration: Duration::ZERO,
        memory_used_bytes: 0,
        cpu_time: None,
        worker_reusable: false,
    }
}

/// What the caller is told of an execution.
pub(crate) fn answer(execution: ExecutionId, outcome: Outcome) -> InvokeResponse {
    let (status, output, error) = match outcome.result {
        FunctionResult::Success { output } => (ExecutionStatus::Success, Some(output), String::new()),
        FunctionResult::Failed { error } => (ExecutionStatus::Failed, None, error),
        FunctionResult::TimedOut { error } => (ExecutionStatus::Timeout, None, error),
    };
    InvokeResponse {
        execution_id: execution,
        status,
        output,
        logs: outcome.logs,
        duration_ms: whole_ms(outcome.duration),
        memory_used_bytes: i64::try_from(outcome.memory_used_bytes).unwrap_or(i64::MAX),
        error,
    }
}

/// What a worker does for one call. Its event and what the function says are nobody else's business.
pub(crate) fn call_span(function: &Function) -> Span {
    tracing::info_span!("function", faas.name = function.name)
}

/// A call under way. Dropped before its end, it is recorded as cancelled, if it had begun to run.
struct Run {
    permit: Option<Permit>,
    execution: ExecutionId,
    function: FunctionId,
    started_at: DateTime<Utc>,
    started: Instant,
    /// Known once a worker runs it.
    is_warm: Option<bool>,
}

impl Run {
    /// The worker is there: from here on it is an execution, and dated.
    fn begin<E: Executor>(&mut self, lease: &Lease<E>) {
        self.is_warm = Some(lease.is_warm());
        self.started_at = Utc::now();
        self.started = Instant::now();
    }

    async fn end(mut self, outcome: Outcome, deadline: Duration) -> Result<InvokeResponse, InvokeError> {
        let permit = self.permit.take().expect("a run has its permit until it ends");
        let is_warm = self.is_warm.unwrap_or(false);
        let (duration, cpu_time) = (outcome.duration, outcome.cpu_time);
        let answer = answer(self.execution, outcome);
        let status = answer.status;
        metrics::invoked(status, is_warm, duration);
        if let Some(cpu_time) = cpu_time {
            metrics::used_cpu(cpu_time);
        }
        let error_message = (!answer.error.is_empty()).then(|| answer.error.clone());
        let record = self.record(is_warm, status, answer.duration_ms, answer.memory_used_bytes, error_message);
        permit.record(record, deadline).await?;
        tracing::debug!(
            status = %status, is_warm_start = is_warm, duration_us = duration.as_micros(),
            cpu_us = cpu_time.map(|time| time.as_micros()), memory_bytes = answer.memory_used_bytes, "executed"
        );
        Ok(answer)
    }

    fn record(
        &self,
        is_warm_start: bool,
        status: ExecutionStatus,
        duration_ms: i64,
        memory_used_bytes: i64,
        error_message: Option<String>,
    ) -> Record {
        Record {
            id: self.execution,
            function_id: self.function,
            status,
            is_warm_start,
            duration_ms,
            memory_used_bytes,
            error_message,
            created_at: self.started_at,
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let (Some(permit), Some(is_warm)) = (self.permit.take(), self.is_warm) else { return };
        metrics::cancelled(is_warm);
        let error = "the client left before the function answered".to_owned();
        let duration_ms = whole_ms(self.started.elapsed());
        permit.record_unanswered(self.record(is_warm, ExecutionStatus::Failed, duration_ms, 0, Some(error)));
    }
}

fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
