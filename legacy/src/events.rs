//! What becomes of an event: its function is called, and the end of it is audited, once.
//!
//! An event ends when its function succeeds, or has failed `max_retries` times beyond the first
//! (then it becomes a dead letter), or is gone. A process that dies between the call and the audit
//! leaves an event whose function is called again: at least once, as every queue. A database that
//! is away in between does not: the end is recorded when it is back.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Event, ExecutionStatus, contract::InvokeResponse};
use service::{Backoff, retry};
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{Processor, Settlement},
    invoker::{InvokeError, Invoker},
    store::{AuditEntry, AuditStatus, DeadLetter, Store, StoreError},
};

/// Works on delivered events.
pub(crate) struct EventProcessor {
    store: Store,
    invoker: Arc<Invoker>,
    /// Ends the waiting for a database that is away.
    stop: CancellationToken,
}

/// How one attempt ended.
struct Attempt {
    duration_ms: i64,
    /// Empty when it succeeded.
    error: String,
}

impl EventProcessor {
    pub(crate) const fn new(store: Store, invoker: Arc<Invoker>, stop: CancellationToken) -> Self {
        Self { store, invoker, stop }
    }

    /// Audits the end of an event, however long the database takes; put back when stopped before.
    async fn end(&self, event: &Event, attempt: &Attempt, status: AuditStatus) -> Settlement {
        let entry = entry(event, attempt, status);
        let audit = || self.store.audit(&entry);
        match retry("auditing an event", Backoff::default(), &self.stop, audit).await {
            Some(()) => Settlement::Done,
            None => Settlement::Redeliver(event.clone()),
        }
    }

    async fn settle(&self, event: &Event) -> Result<Settlement, InvokeError> {
        if self.store.is_audited(event.id).await? {
            tracing::debug!(event.id = %event.id, "a second delivery of an event that is done with");
            return Ok(Settlement::Done);
        }
        let attempted_at = Utc::now();
        let payload = serde_json::to_vec(&event.payload).expect("a JSON value is plain data");
        let attempt = match self.invoker.invoke(event.function_id, payload.into()).await {
            Ok(answer) => Attempt::from(answer),
            Err(error @ InvokeError::UnknownFunction(_)) => {
                // Nobody could retry it, and the dead letters of a function go with it.
                let attempt = Attempt { duration_ms: 0, error: error.to_string() };
                return Ok(self.end(event, &attempt, AuditStatus::Failed).await);
            }
            Err(error) => return Err(error),
        };
        if attempt.error.is_empty() {
            return Ok(self.end(event, &attempt, AuditStatus::Success).await);
        }
        match event.after_failure(attempted_at) {
            Some(again) => Ok(Settlement::Redeliver(again)),
            None => Ok(self.give_up(event, &attempt, attempted_at).await),
        }
    }

    async fn give_up(&self, event: &Event, attempt: &Attempt, attempted_at: DateTime<Utc>) -> Settlement {
        let letter = DeadLetter {
            entry: entry(event, attempt, AuditStatus::Failed),
            payload: &event.payload,
            retry_count: i32::try_from(event.retry_count).unwrap_or(i32::MAX),
            max_retries: i32::try_from(event.max_retries).unwrap_or(i32::MAX),
            first_attempt_at: event.first_attempt_at(attempted_at),
            last_attempt_at: attempted_at,
        };
        let bury = || async {
            match self.store.bury(&letter).await {
                Ok(()) => Ok(true),
                // Deleted while it ran; its dead letters go with it.
                Err(StoreError::NoSuchFunction { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        match retry("recording a dead letter", Backoff::default(), &self.stop, bury).await {
            Some(true) => {
                tracing::warn!(
                    event.id = %event.id,
                    function.id = %event.function_id,
                    error = attempt.error,
                    "an event became a dead letter"
                );
                Settlement::DeadLetter
            }
            Some(false) => self.end(event, attempt, AuditStatus::Failed).await,
            None => Settlement::Redeliver(event.clone()),
        }
    }
}

#[async_trait]
impl Processor for EventProcessor {
    async fn process(&self, event: &Event) -> Settlement {
        self.settle(event).await.unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                event.id = %event.id,
                "an event could not be worked on; it waits, and this is none of its retries"
            );
            Settlement::Redeliver(event.clone())
        })
    }
}

impl From<InvokeResponse> for Attempt {
    fn from(answer: InvokeResponse) -> Self {
        let error = match answer.status {
            ExecutionStatus::Success => String::new(),
            // A failure without a word would pass for a success.
            ExecutionStatus::Failed | ExecutionStatus::Timeout if answer.error.is_empty() => answer.status.to_string(),
            ExecutionStatus::Failed | ExecutionStatus::Timeout => answer.error,
        };
        Self { duration_ms: answer.duration_ms, error }
    }
}

fn entry<'a>(event: &Event, attempt: &'a Attempt, status: AuditStatus) -> AuditEntry<'a> {
    AuditEntry {
        event_id: event.id,
        function_id: event.function_id,
        event_type: event.event_type.as_str(),
        status,
        duration_ms: attempt.duration_ms,
        error: &attempt.error,
    }
}
