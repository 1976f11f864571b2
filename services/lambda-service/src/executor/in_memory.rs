//! An executor without processes, whose every step the test decides: for the pool's own tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::FunctionId;
use sandbox::FunctionResult;

use super::{Executor, Invocation, Outcome, StartError, Worker};
use crate::function::Function;

/// How many workers there are, and how many there ever were.
#[derive(Debug, Default)]
pub(crate) struct Census {
    pub(crate) started: AtomicUsize,
    pub(crate) alive: AtomicUsize,
    pub(crate) most_alive: AtomicUsize,
}

/// Starts workers that take `start_time` to start and `call_time` for a call.
pub(crate) struct InMemoryExecutor {
    pub(crate) census: Arc<Census>,
    pub(crate) start_time: Duration,
    pub(crate) call_time: Duration,
    pub(crate) failure: Option<StartError>,
}

pub(crate) struct InMemoryWorker {
    pub(crate) function: FunctionId,
    pub(crate) serial: usize,
    pub(crate) calls: usize,
    call_time: Duration,
    census: Arc<Census>,
}

impl InMemoryExecutor {
    pub(crate) fn new(start_time: Duration, call_time: Duration) -> Self {
        Self { census: Arc::default(), start_time, call_time, failure: None }
    }
}

impl Executor for InMemoryExecutor {
    type Worker = InMemoryWorker;

    async fn start(&self, function: &Function) -> Result<InMemoryWorker, StartError> {
        let serial = self.census.started.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.start_time).await;
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let alive = self.census.alive.fetch_add(1, Ordering::SeqCst) + 1;
        self.census.most_alive.fetch_max(alive, Ordering::SeqCst);
        Ok(InMemoryWorker {
            function: function.id,
            serial,
            calls: 0,
            call_time: self.call_time,
            census: Arc::clone(&self.census),
        })
    }
}

impl Worker for InMemoryWorker {
    async fn invoke(&mut self, invocation: &Invocation) -> Outcome {
        assert_eq!(invocation.event, self.function.to_string(), "a worker serves one function");
        self.calls += 1;
        tokio::time::sleep(self.call_time).await;
        let output = serde_json::value::to_raw_value(&(self.serial, self.calls)).expect("plain data");
        Outcome {
            result: FunctionResult::Success { output },
            logs: String::new(),
            duration: self.call_time,
            memory_used_bytes: 0,
            cpu_time: None,
            worker_reusable: true,
        }
    }

    fn is_alive(&self) -> bool {
        true
    }

    async fn stop(self) {}
}

impl Drop for InMemoryWorker {
    fn drop(&mut self) {
        self.census.alive.fetch_sub(1, Ordering::SeqCst);
    }
}
