//! One call of a function, from its id to its recorded outcome; for requests and events alike.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use domain::{
    ExecutionId, ExecutionStatus, FunctionId,
    contract::{DEFAULT_HANDLER, InvokeResponse},
};
use objects::{Objects, ObjectsError};
use sandbox::{Code, FunctionCode, FunctionResult, Invocation};
use service::{Backoff, retry};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    executor::{Executor, ExecutorConfig, ExecutorError, Job},
    store::{ExecutionRecord, Store, StoreError, StoredFunction},
};

const BYTES_PER_MB: i64 = 1024 * 1024;

/// Why a function was not called. (When it was called and failed, that is an answer.)
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvokeError {
    #[error("no function has the id `{0}`")]
    UnknownFunction(FunctionId),
    #[error("the function could not be read")]
    Store(#[from] StoreError),
    #[error("the function's code could not be read")]
    Objects(#[from] ObjectsError),
    #[error("the function's code is not stored under `{0}`, or is not text")]
    NoCode(String),
    #[error("no call ended within {} ms to make room", .0.as_millis())]
    Busy(Duration),
    #[error(transparent)]
    Executor(#[from] ExecutorError),
}

/// Calls functions, a bounded number at once.
#[derive(Debug)]
pub(crate) struct Invoker {
    store: Store,
    objects: Objects,
    executor: Arc<dyn Executor>,
    slots: Semaphore,
    queue_timeout: Duration,
    record_deadline: Duration,
    memory_bytes: u64,
}

impl Invoker {
    pub(crate) fn new(config: &ExecutorConfig, store: Store, objects: Objects, executor: Arc<dyn Executor>) -> Self {
        Self {
            store,
            objects,
            executor,
            slots: Semaphore::new(usize::from(config.concurrency)),
            queue_timeout: config.queue_timeout.get(),
            record_deadline: config.record_deadline.get(),
            memory_bytes: config.memory.bytes(),
        }
    }

    /// Calls a function with `event`, a JSON value, and records the execution.
    pub(crate) async fn invoke(&self, id: FunctionId, event: bytes::Bytes) -> Result<InvokeResponse, InvokeError> {
        let function = self.store.function(id).await?.ok_or(InvokeError::UnknownFunction(id))?;
        let source = self.source(&function).await?;
        let execution_id = ExecutionId::generate();
        let job = self.job(&function, source, execution_id, event);
        let _slot = tokio::time::timeout(self.queue_timeout, self.slots.acquire())
            .await
            .map_err(|_| InvokeError::Busy(self.queue_timeout))?
            .expect("the semaphore is never closed");

        let started_at = Utc::now();
        let call = tracing::info_span!("function", faas.name = function.name);
        let run = self.executor.run(&job).instrument(call).await?;
        // The contract's defect: the function's limit stands in for a measurement.
        let memory_used_bytes = function.memory_mb.saturating_mul(BYTES_PER_MB);
        let duration_ms = i64::try_from(run.outcome.duration.as_millis()).unwrap_or(i64::MAX);
        let (status, output, error) = match run.outcome.result {
            FunctionResult::Success { output } => (ExecutionStatus::Success, Some(output), String::new()),
            FunctionResult::Failed { error } => (ExecutionStatus::Failed, None, error),
            FunctionResult::TimedOut { error } => (ExecutionStatus::Timeout, None, error),
        };
        let record = ExecutionRecord {
            id: execution_id,
            function_id: id,
            status,
            is_warm_start: run.is_warm_start,
            duration_ms,
            memory_used_bytes,
            error: &error,
            started_at,
        };
        self.record(&record).await;
        Ok(InvokeResponse {
            execution_id,
            status,
            output,
            logs: run.outcome.logs,
            duration_ms,
            memory_used_bytes,
            error,
        })
    }

    /// Records an execution, if need be once the database is back.
    async fn record(&self, record: &ExecutionRecord<'_>) {
        let attempt = || async {
            match self.store.insert_execution(record).await {
                // An attempt whose answer was lost has recorded it; or the function was deleted while it
                // ran, and its history with it.
                Err(StoreError::Taken { .. } | StoreError::NoSuchFunction { .. }) => Ok(()),
                recorded => recorded,
            }
        };
        // A stop does not end this: the drain deadline does.
        let until_recorded = CancellationToken::new();
        let recorded = retry("recording an execution", Backoff::default(), &until_recorded, attempt);
        if tokio::time::timeout(self.record_deadline, recorded).await.is_err() {
            // The function has run; to refuse its result would invite its caller to run it again.
            tracing::error!(
                execution.id = %record.id,
                function.id = %record.function_id,
                "an execution was not recorded"
            );
        }
    }

    async fn source(&self, function: &StoredFunction) -> Result<Arc<str>, InvokeError> {
        let no_code = || InvokeError::NoCode(function.code_key.clone());
        let source = self.objects.get(&function.code_key).await?.ok_or_else(no_code)?;
        Ok(Arc::from(std::str::from_utf8(&source).map_err(|_| no_code())?))
    }

    fn job(&self, function: &StoredFunction, source: Arc<str>, id: ExecutionId, event: bytes::Bytes) -> Job {
        Job {
            runtime: function.runtime,
            code: FunctionCode {
                function_id: function.id.to_string(),
                function_name: function.name.clone(),
                language: function.runtime.language(),
                launch: sandbox::Launch::default(),
                code: Code::Source(source),
                handler: DEFAULT_HANDLER.to_owned(),
                environment: function.environment.clone(),
                memory_bytes: self.memory_bytes,
            },
            call: Invocation {
                execution_id: id.to_string(),
                event,
                timeout: Duration::from_secs(u64::try_from(function.timeout_s).unwrap_or(0)),
            },
        }
    }
}
