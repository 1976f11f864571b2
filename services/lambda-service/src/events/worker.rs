//! What becomes of an event that was taken: its function is called, and it ends, or is put back.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use chrono::{DateTime, Utc};
use domain::{ExecutionStatus, contract::InvokeResponse};
use service::{Backoff, retry};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, field};

use super::{metrics, retry::RetryPolicy, trace};
use crate::{
    code::CodeError,
    executor::{Executor, StartError},
    invocation::{InvokeError, Invoker},
    pool::AcquireError,
    store::{Ended, EventEnd, NewDeadLetter, RawEvent, Store, StoreError, Taken},
};

/// How a worker goes about it.
#[derive(Debug, Clone, Copy)]
pub struct WorkerSettings {
    pub(super) retry: RetryPolicy,
    /// The wait of an event that could not be worked on for no fault of its function.
    pub(super) defer: Duration,
    pub(super) lease: Duration,
    pub(super) max_deliveries: i32,
}

/// Works on events.
pub struct EventWorker<E: Executor> {
    invoker: Arc<Invoker<E>>,
    store: Store,
    settings: WorkerSettings,
}

/// How one attempt ended.
enum Attempt {
    /// The function answered.
    Answered { duration_ms: i64, error: Option<String> },
    /// There is no such function (any more).
    NoFunction,
    /// It was not called, for no fault of its own.
    NotMade(InvokeError),
}

/// What is to be done about an event.
enum Verdict {
    End(EventEnd),
    Retry { again: Box<RawEvent>, wait: Duration },
    Defer,
}

impl<E: Executor> EventWorker<E> {
    /// Calls functions through `invoker`.
    #[must_use]
    pub fn new(invoker: Arc<Invoker<E>>, settings: WorkerSettings) -> Self {
        Self { store: invoker.store.clone(), invoker, settings }
    }

    /// Takes the event that has waited longest, of any function but these.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_any(&self, but: &[domain::FunctionId]) -> Result<Option<Taken>, StoreError> {
        self.store.take_event(self.settings.lease, but).await
    }

    /// Takes this event if it is to be had.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_this(&self, id: domain::EventId) -> Result<Option<Taken>, StoreError> {
        self.store.take_this_event(id, self.settings.lease).await
    }

    /// Where events are.
    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    /// Works on an event until it has ended, was put back, or is another worker's. When `hurry` is cancelled, what
    /// runs is stopped and the event given back.
    pub async fn work(&self, taken: Taken, hurry: &CancellationToken) {
        let span = tracing::info_span!(
            "event", event_id = %taken.id, event_type = taken.event_type.as_str(), trace_id = field::Empty
        );
        // A message has brought the place with it; a row has kept it.
        let noted = if telemetry::current().is_none() { trace::noted(&taken.body) } else { None };
        telemetry::place(&span, noted);
        self.work_in_span(taken, hurry).instrument(span).await;
    }

    async fn work_in_span(&self, taken: Taken, hurry: &CancellationToken) {
        tokio::select! {
            () = Box::pin(self.settle(&taken, hurry)) => {}
            () = self.until_lost(&taken) => {
                metrics::put_back("lost");
                tracing::warn!("the event is another worker's by now; what runs here is stopped");
            }
        }
    }

    async fn settle(&self, taken: &Taken, hurry: &CancellationToken) {
        let Some(verdict) = hurry.run_until_cancelled(self.attempt(taken)).await else {
            metrics::put_back("draining");
            if let Err(error) = self.store.put_event_back(taken, None, Duration::ZERO).await {
                // Its lease runs out.
                tracing::warn!(error = &error as &dyn std::error::Error, "an event could not be given back");
            }
            return;
        };
        // However long the database takes, as long as the lease is ours.
        let carry_out = || self.carry_out(taken, &verdict);
        let settled = retry::<_, StoreError, _>("settling an event", Backoff::default(), hurry, carry_out).await;
        if settled.is_none() {
            tracing::warn!("the event could not be settled; it is worked on again when its lease runs out");
        }
    }

    async fn attempt(&self, taken: &Taken) -> Verdict {
        let attempted_at = Utc::now();
        if taken.has_ended {
            return Verdict::End(EventEnd { duration_ms: 0, error: None, dead_letter: None });
        }
        let event: RawEvent = match serde_json::from_str(&taken.body) {
            Ok(event) => event,
            Err(error) => return Verdict::End(unreadable(taken, &error, attempted_at)),
        };
        if taken.deliveries > self.settings.max_deliveries {
            let error = format!("{} processes ended over it, and none of them finished", taken.deliveries - 1);
            return Verdict::End(given_up(&event, error, 0, attempted_at));
        }
        let payload = Bytes::copy_from_slice(event.payload.get().as_bytes());
        let attempt = match self.invoker.invoke(event.function_id, payload).await {
            Ok(answer) => Attempt::from(answer),
            Err(error) => Attempt::from(error),
        };
        self.judge(&event, attempt, attempted_at, rand::random())
    }

    /// Decides what comes after an attempt.
    fn judge(&self, event: &RawEvent, attempt: Attempt, attempted_at: DateTime<Utc>, dice: f64) -> Verdict {
        let (duration_ms, error) = match attempt {
            Attempt::Answered { duration_ms, error: None } => {
                return Verdict::End(EventEnd { duration_ms, error: None, dead_letter: None });
            }
            Attempt::Answered { duration_ms, error: Some(error) } => (duration_ms, error),
            Attempt::NoFunction => {
                // Nobody could retry it, and the dead letters of a function go with it.
                let error = Some(format!("no function has the id `{}`", event.function_id));
                return Verdict::End(EventEnd { duration_ms: 0, error, dead_letter: None });
            }
            Attempt::NotMade(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "an event could not be worked on; it waits, and this is none of its retries");
                return Verdict::Defer;
            }
        };
        match event.after_failure(attempted_at) {
            Some(again) => {
                let wait = self.settings.retry.wait(again.retry_count, dice);
                tracing::debug!(
                    retry = again.retry_count,
                    error,
                    wait_ms = wait.as_millis(),
                    "an event is tried again"
                );
                Verdict::Retry { again: Box::new(again), wait }
            }
            None => Verdict::End(given_up(event, error, duration_ms, attempted_at)),
        }
    }

    async fn carry_out(&self, taken: &Taken, verdict: &Verdict) -> Result<(), StoreError> {
        match verdict {
            Verdict::End(end) => {
                let ended = self.store.end_event(taken, end).await?;
                tell(taken, end, ended);
            }
            Verdict::Retry { again, wait } => {
                let body = serde_json::to_string(again).expect("an event is plain data");
                self.store.put_event_back(taken, Some(&body), *wait).await?;
                metrics::put_back("failed");
            }
            Verdict::Defer => {
                let wait = self.settings.defer.mul_f64(0.5 + rand::random::<f64>() / 2.0);
                self.store.put_event_back(taken, None, wait).await?;
                metrics::put_back("deferred");
            }
        }
        Ok(())
    }

    /// Renews the lease for as long as it is ours. A database that is away is no sign that it is not: what is said
    /// with the lease afterwards finds out.
    async fn until_lost(&self, taken: &Taken) {
        loop {
            sleep(self.settings.lease / 3).await;
            match self.store.keep_event(taken, self.settings.lease).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a lease could not be renewed"),
            }
        }
    }
}

impl From<InvokeResponse> for Attempt {
    fn from(answer: InvokeResponse) -> Self {
        let error = match answer.status {
            ExecutionStatus::Success => None,
            // A failure without a word would pass for a success.
            ExecutionStatus::Failed | ExecutionStatus::Timeout if answer.error.is_empty() => {
                Some(answer.status.to_string())
            }
            ExecutionStatus::Failed | ExecutionStatus::Timeout => Some(answer.error),
        };
        Self::Answered { duration_ms: answer.duration_ms, error }
    }
}

impl From<InvokeError> for Attempt {
    fn from(error: InvokeError) -> Self {
        match error {
            InvokeError::NotFound => Self::NoFunction,
            // Code that is not there, or not what it should be, does not come back by waiting.
            InvokeError::Worker(AcquireError::Start(StartError::Code(
                error @ (CodeError::Missing(_) | CodeError::Damaged(_)),
            ))) => Self::Answered { duration_ms: 0, error: Some(error.to_string()) },
            error => Self::NotMade(error),
        }
    }
}

fn tell(taken: &Taken, end: &EventEnd, ended: Ended) {
    let outcome = match (ended, &end.error, &end.dead_letter) {
        (Ended::Lost, ..) => return metrics::put_back("lost"),
        (Ended::Before, ..) => "repeated",
        (Ended::Now, None, _) => "success",
        (Ended::Now, Some(error), Some(_)) => {
            tracing::warn!(function_id = %taken.function_id, error, "an event became a dead letter");
            "dead_letter"
        }
        (Ended::Now, Some(_), None) => "dropped",
    };
    metrics::ended(taken.event_type, outcome, (Utc::now() - taken.accepted_at).to_std().unwrap_or_default());
}

fn given_up(event: &RawEvent, error: String, duration_ms: i64, attempted_at: DateTime<Utc>) -> EventEnd {
    let letter = NewDeadLetter {
        payload: storable_json(event.payload.get()),
        retry_count: i32::try_from(event.retry_count).unwrap_or(i32::MAX),
        max_retries: i32::try_from(event.max_retries).unwrap_or(i32::MAX),
        first_attempt_at: event.first_attempt_at(attempted_at),
        last_attempt_at: attempted_at,
    };
    EventEnd { duration_ms, error: Some(error), dead_letter: Some(letter) }
}

/// A row that was written by somebody else.
fn unreadable(taken: &Taken, error: &serde_json::Error, now: DateTime<Utc>) -> EventEnd {
    let letter = NewDeadLetter {
        payload: storable_json(&serde_json::Value::from(taken.body.as_str()).to_string()),
        retry_count: 0,
        max_retries: 0,
        first_attempt_at: now,
        last_attempt_at: now,
    };
    EventEnd { duration_ms: 0, error: Some(format!("it is no event: {error}")), dead_letter: Some(letter) }
}

/// JSON as jsonb can hold it: without NUL. What has none stays as it was written, long numbers included.
fn storable_json(json: &str) -> String {
    fn without_nul(value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        let replaced = |text: String| text.replace('\0', "\u{fffd}");
        match value {
            Value::String(text) => Value::String(replaced(text)),
            Value::Array(items) => items.into_iter().map(without_nul).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(key, value)| (replaced(key), without_nul(value))).collect()
            }
            other => other,
        }
    }
    if !json.contains("\\u0000") {
        return json.to_owned();
    }
    serde_json::from_str(json).map_or_else(|_| "null".to_owned(), |value| without_nul(value).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jsonb_cannot_hold_is_replaced_and_all_else_stays() {
        let long = r#"{"n": 12345678901234567890123.5, "b": 1, "a": "\\u0041"}"#;
        assert_eq!(storable_json(long), long);
        assert_eq!(storable_json("{\"a\\u0000\": [\"b\\u0000c\", null]}"), "{\"a\u{fffd}\":[\"b\u{fffd}c\",null]}");
        let escaped = r#""a\\u0000""#;
        assert_eq!(storable_json(escaped), escaped, "an escaped backslash before it is no NUL");
    }
}
