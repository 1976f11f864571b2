//! Takes messages that are due, sends them, and writes down how it went.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::Utc;
use domain::BuildEvent;
use layered_config::Secret;
use service::Backoff;
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, field, info_span};

use super::{
    connection::{Connection, Message},
    schedule::Schedule,
};
use crate::{
    config::{ReceiverConfig, WebhooksConfig},
    metrics,
    store::{CLIENT, DeliveryAttempt, DueDelivery, Outcome, Store, StoreError},
};

/// Beyond the time that an attempt may take: until its outcome is written down.
const HOLD_MARGIN: Duration = Duration::from_secs(20);

/// Sends messages, as many at a time as may be.
#[derive(Debug)]
pub struct Sender {
    store: Store,
    connection: Connection,
    receivers: BTreeMap<String, ReceiverConfig>,
    /// Signs for clients that gave no secret.
    secret: Secret,
    schedule: Schedule,
    concurrency: usize,
    hold: Duration,
    poll_interval: Duration,
    bell: Arc<Notify>,
}

impl Sender {
    /// A sender that looks for messages whenever `bell` rings, and now and then.
    #[must_use]
    pub fn new(config: &WebhooksConfig, connection: Connection, store: Store, bell: Arc<Notify>) -> Self {
        Self {
            store,
            connection,
            receivers: config.receivers.clone(),
            secret: config.secret.clone(),
            schedule: Schedule {
                first: config.retry_first.get(),
                most: config.retry_most.get(),
                max_attempts: config.max_attempts,
                max_age: config.max_age.get(),
            },
            concurrency: config.concurrency,
            hold: config.timeout.get() + HOLD_MARGIN,
            poll_interval: config.poll_interval.get(),
            bell,
        }
    }

    /// Sends until `stop`, then lets the attempts that run end.
    pub async fn run(self, stop: CancellationToken) {
        let (sender, mut running, mut backoff) = (Arc::new(self), JoinSet::new(), Backoff::default());
        while !stop.is_cancelled() {
            // Made before looking, so that a bell between looking and waiting is heard.
            let rung = sender.bell.notified();
            let room = sender.concurrency - running.len();
            let pause = match sender.take(room, &mut running).await {
                // There may be more than there was room for: whoever ends makes room.
                Ok(taken) if taken == room => None,
                Ok(_) => Some(sender.poll_interval),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "no messages could be taken");
                    Some(backoff.next_delay())
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = running.join_next() => {}
                () = rung, if pause.is_some() => backoff.reset(),
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    async fn take(self: &Arc<Self>, room: usize, running: &mut JoinSet<()>) -> Result<usize, StoreError> {
        if room == 0 {
            return Ok(0);
        }
        let due = self.store.due_deliveries(i64::try_from(room).unwrap_or(i64::MAX), self.hold).await?;
        let taken = due.len();
        for delivery in due {
            let sender = Arc::clone(self);
            let (delivery_id, job_id) = (delivery.id, delivery.event.data.job_id);
            let span = info_span!(
                "delivery", otel.kind = "client", %delivery_id, %job_id, trace_id = field::Empty
            );
            telemetry::place(&span, delivery.trace);
            running.spawn(async move { sender.deliver(delivery).await }.instrument(span));
        }
        Ok(taken)
    }

    async fn deliver(&self, due: DueDelivery) {
        let attempt = self.attempt(&due).await;
        let status = attempt.answer.as_ref().ok().copied();
        let outcome = self.schedule.outcome(status, due.attempt, due.age, rand::random());
        let (delivery_id, job_id) = (due.id, due.event.data.job_id);
        let error = attempt.answer.as_ref().err();
        match outcome {
            Outcome::Delivered => {
                metrics::webhook("delivered", attempt.duration);
                tracing::debug!(%delivery_id, %job_id, receiver = due.receiver, "receiver told");
            }
            Outcome::Again(delay) => {
                metrics::webhook("again", attempt.duration);
                let retry_in_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                tracing::info!(%delivery_id, %job_id, receiver = due.receiver, status, error, retry_in_ms, "receiver not told");
            }
            Outcome::GivenUp => {
                metrics::webhook("given_up", attempt.duration);
                let attempts = due.number;
                tracing::warn!(%delivery_id, %job_id, receiver = due.receiver, status, error, attempts, "receiver given up");
            }
        }
        if let Err(error) = self.store.attempted(&due, &attempt, outcome).await {
            // It is due again when nobody has said otherwise, and the receiver knows its id.
            tracing::warn!(error = &error as &dyn std::error::Error, %delivery_id, "an attempt could not be written down");
        }
    }

    async fn attempt(&self, due: &DueDelivery) -> DeliveryAttempt {
        let Some((url, secret, event)) = self.message(due) else {
            let answer = Err("no receiver of this name is configured any more".to_owned());
            return DeliveryAttempt { duration: Duration::ZERO, answer, response: String::new() };
        };
        let body = serde_json::to_string(&event).expect("an event is plain data");
        let message =
            Message { id: due.id.to_string(), timestamp_s: Utc::now().timestamp(), body: &body, secret: &secret };
        self.connection.send(&url, message).await
    }

    /// Where a message goes, what signs it and what it says.
    fn message(&self, due: &DueDelivery) -> Option<(String, Secret, BuildEvent)> {
        let mut event = due.event.clone();
        if due.receiver == CLIENT {
            let secret = due.client_secret.clone().unwrap_or_else(|| self.secret.clone());
            return Some((due.client_url.clone()?, secret, event));
        }
        let receiver = self.receivers.get(&due.receiver)?;
        if receiver.registers {
            event.data.function = Some(due.function.clone());
            event.data.artifact_key =
                event.data.artifact_digest.as_deref().and_then(|digest| due.kind.artifact_key(digest));
        }
        Some((receiver.url_for(&event.data.job_id.to_string()), receiver.secret.clone(), event))
    }
}
