//! `webhook_deliveries`, `webhook_attempts`: who is told of what, and how that went.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{BuildEvent, BuildReport, BuildState, BuiltFunction, DeliveryId, JobId};
use layered_config::Secret;
use sqlx::postgres::PgRow;
use telemetry::TraceContext;
use uuid::Uuid;

use super::{
    Store, StoreError,
    rows::{self, get, parsed},
};
use crate::job::{Kind, built_function};

/// A message that is to be sent now, by whoever has this.
#[derive(Debug, Clone)]
pub struct DueDelivery {
    /// Its id, which is the same whenever it is sent.
    pub id: DeliveryId,
    /// The configured receiver's name, or [`CLIENT`](super::CLIENT).
    pub receiver: String,
    /// Which attempt this is, over all rounds.
    pub number: i32,
    /// Which attempt of this round this is.
    pub attempt: i32,
    /// How long ago it was to be sent for the first time in this round.
    pub age: Duration,
    /// Where the job's client wants to hear of it.
    pub client_url: Option<String>,
    /// The job's client's own secret.
    pub client_secret: Option<Secret>,
    /// What is told: without the function's environment.
    pub event: BuildEvent,
    /// The function, for receivers that register it.
    pub function: BuiltFunction,
    /// What it is made of, which says where its artifact is.
    pub kind: Kind,
    /// Where in a trace the job was asked for.
    pub trace: Option<TraceContext>,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryAttempt {
    /// How long it took.
    pub duration: Duration,
    /// The status it was answered with, or why it was not.
    pub answer: Result<u16, String>,
    /// The beginning of the answer's body.
    pub response: String,
}

/// What is to become of a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// It is tried again after this time.
    Again(Duration),
    /// It is tried no more, until it is replayed.
    GivenUp,
}

/// A delivery as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DeliveryItem {
    /// Its id, which the receiver sees as `webhook-id`.
    pub delivery_id: DeliveryId,
    /// Which transition it tells of.
    pub sequence: i32,
    /// Which state that was.
    pub status: BuildState,
    /// Whom it tells.
    pub receiver: String,
    /// `pending`, `delivered` or `given_up`.
    pub state: String,
    /// When it is next tried.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// How it went so far, oldest first.
    pub attempts: Vec<AttemptItem>,
}

/// An attempt as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AttemptItem {
    /// Which one, from 1.
    pub number: i32,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// How long it took.
    pub duration_ms: i64,
    /// The status it was answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// Why it was not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The beginning of the answer's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
}

impl Store {
    /// Takes messages that are due. Each is due again after `hold`, should nothing be heard of it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn due_deliveries(&self, limit: i64, hold: Duration) -> Result<Vec<DueDelivery>, StoreError> {
        let rows = sqlx::query(
            "WITH due AS (SELECT id FROM webhook_deliveries WHERE state = 'pending' AND due_at <= now() \
             ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED), \
             taken AS (UPDATE webhook_deliveries d SET attempts = d.attempts + 1, \
             due_at = now() + make_interval(secs => $2) FROM due WHERE d.id = due.id RETURNING d.*) \
             SELECT t.id AS delivery_id, t.receiver, t.attempts, t.earlier_attempts, t.sequence AS told_sequence, \
             now() - t.begun_at AS age, s.state AS told_state, s.attempt AS told_attempt, s.at, j.* \
             FROM taken t JOIN build_status s ON s.job_id = t.job_id AND s.sequence = t.sequence \
             JOIN build_jobs j ON j.id = t.job_id",
        )
        .bind(limit)
        .bind(hold.as_secs_f64())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(due_delivery).collect()
    }

    /// Writes down how an attempt went. Of one that took so long that another was begun, only that it was.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn attempted(
        &self,
        due: &DueDelivery,
        attempt: &DeliveryAttempt,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO webhook_attempts (delivery_id, number, duration_ms, status, error, response) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(due.id.as_uuid())
        .bind(due.number)
        .bind(i64::try_from(attempt.duration.as_millis()).unwrap_or(i64::MAX))
        .bind(attempt.answer.as_ref().ok().map(|status| i32::from(*status)))
        .bind(attempt.answer.as_ref().err())
        .bind((!attempt.response.is_empty()).then_some(&attempt.response))
        .execute(&mut *transaction)
        .await?;
        let (state, delay) = match outcome {
            Outcome::Delivered => ("delivered", Duration::ZERO),
            Outcome::Again(delay) => ("pending", delay),
            Outcome::GivenUp => ("given_up", Duration::ZERO),
        };
        sqlx::query(
            "UPDATE webhook_deliveries SET state = $3, due_at = now() + make_interval(secs => $4), \
             ended_at = CASE WHEN $3 = 'pending' THEN NULL ELSE now() END \
             WHERE id = $1 AND attempts = $2 AND state = 'pending'",
        )
        .bind(due.id.as_uuid())
        .bind(due.number)
        .bind(state)
        .bind(delay.as_secs_f64())
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    /// Everyone who was told of a build, or is to be.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn deliveries(&self, id: JobId) -> Result<Vec<DeliveryItem>, StoreError> {
        let rows = sqlx::query(
            "SELECT d.*, s.state AS told_state FROM webhook_deliveries d \
             JOIN build_status s ON s.job_id = d.job_id AND s.sequence = d.sequence \
             WHERE d.job_id = $1 ORDER BY d.sequence, d.receiver",
        )
        .bind(id.as_uuid())
        .fetch_all(&self.pool)
        .await?;
        let mut items = rows.iter().map(delivery_item).collect::<Result<Vec<_>, _>>()?;
        let rows = sqlx::query(
            "SELECT a.* FROM webhook_attempts a JOIN webhook_deliveries d ON d.id = a.delivery_id \
             WHERE d.job_id = $1 ORDER BY a.number",
        )
        .bind(id.as_uuid())
        .fetch_all(&self.pool)
        .await?;
        for row in &rows {
            let delivery_id = DeliveryId::from(get::<Uuid>(row, "delivery_id")?);
            if let Some(item) = items.iter_mut().find(|item| item.delivery_id == delivery_id) {
                item.attempts.push(attempt_item(row)?);
            }
        }
        Ok(items)
    }

    /// Sends a message again, from now on as often as a new one. False: the build has no such message.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn replay(&self, job: JobId, delivery: DeliveryId) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE webhook_deliveries SET state = 'pending', due_at = now(), begun_at = now(), ended_at = NULL, \
             earlier_attempts = attempts WHERE id = $1 AND job_id = $2",
        )
        .bind(delivery.as_uuid())
        .bind(job.as_uuid())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}

fn due_delivery(row: &PgRow) -> Result<DueDelivery, StoreError> {
    let job = rows::job(row)?;
    let status: BuildState = parsed(row, "told_state")?;
    let number: i32 = get(row, "attempts")?;
    let begun: sqlx::postgres::types::PgInterval = get(row, "age")?;
    let settings = job.settings;
    let report = BuildReport {
        job_id: job.id,
        function_id: job.function_id,
        version: job.version,
        sequence: get(row, "told_sequence")?,
        status,
        attempt: get(row, "told_attempt")?,
        error: job.error.filter(|_| status == BuildState::Failed),
        artifact_digest: job.artifact_digest.filter(|_| status == BuildState::Completed),
        artifact_key: None,
        function: None,
    };
    Ok(DueDelivery {
        id: DeliveryId::from(get::<Uuid>(row, "delivery_id")?),
        receiver: get(row, "receiver")?,
        number,
        attempt: number - get::<i32>(row, "earlier_attempts")?,
        age: age(&begun),
        client_url: job.webhook_url,
        client_secret: get::<Option<String>>(row, "webhook_secret")?.map(Secret::new),
        event: BuildEvent::new(get(row, "at")?, report),
        function: built_function(settings, job.created_at, job.warm),
        kind: rows::kind(row)?,
        trace: rows::trace(row)?,
    })
}

/// The difference of two times, which PostgreSQL gives in days and what is left of one.
fn age(interval: &sqlx::postgres::types::PgInterval) -> Duration {
    let days = u64::try_from(interval.days).unwrap_or(0);
    Duration::from_secs(days * 86_400) + Duration::from_micros(u64::try_from(interval.microseconds).unwrap_or(0))
}

fn delivery_item(row: &PgRow) -> Result<DeliveryItem, StoreError> {
    let state: String = get(row, "state")?;
    let due_at: DateTime<Utc> = get(row, "due_at")?;
    Ok(DeliveryItem {
        delivery_id: DeliveryId::from(get::<Uuid>(row, "id")?),
        sequence: get(row, "sequence")?,
        status: parsed(row, "told_state")?,
        receiver: get(row, "receiver")?,
        next_attempt_at: (state == "pending").then_some(due_at),
        state,
        attempts: Vec::new(),
    })
}

fn attempt_item(row: &PgRow) -> Result<AttemptItem, StoreError> {
    Ok(AttemptItem {
        number: get(row, "number")?,
        at: get(row, "at")?,
        duration_ms: get(row, "duration_ms")?,
        status: get(row, "status")?,
        error: get(row, "error")?,
        response: get(row, "response")?,
    })
}
