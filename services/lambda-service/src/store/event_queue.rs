//! `event_queue`: events that were accepted and have not ended.
//!
//! Whoever takes an event has its lease, a token with an end by the database's clock. What is said of the event
//! is said with the token, and changes nothing once somebody else has taken it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{DeadLetterId, Event, EventId, EventType, FunctionId};
use serde_json::value::RawValue;
use sqlx::{PgConnection, postgres::types::PgInterval};
use uuid::Uuid;

use super::{Store, StoreError};

/// An event whose payload stays as it was written.
pub type RawEvent = Event<Box<RawValue>>;

/// An event that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its id.
    pub id: EventId,
    /// Its function.
    pub function_id: FunctionId,
    /// What it stems from.
    pub event_type: EventType,
    /// Itself, as it stands on the wire.
    pub body: String,
    /// The lease.
    pub token: Uuid,
    /// How often it was taken since it was last put back on purpose: above 1, a worker died over it.
    pub deliveries: i32,
    /// The dead letter that it tries again.
    pub dead_letter: Option<DeadLetterId>,
    /// When it was accepted.
    pub accepted_at: DateTime<Utc>,
    /// It has ended already; only its row is left.
    pub has_ended: bool,
}

/// What waits in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Events that nobody works on, those included that wait for their next attempt.
    pub waiting: u64,
    /// Events under a lease.
    pub in_flight: u64,
    /// How long the oldest of them all has been there.
    pub oldest: Duration,
}

/// The columns of [`Taken`].
const TAKEN: &str = "q.id, q.function_id, q.event_type, q.body, q.lease_token, q.deliveries, q.dead_letter_id, \
     q.accepted_at, EXISTS (SELECT FROM event_audit AS a WHERE a.event_id = q.id)";

/// Nobody takes events while they are paused.
const RUNNING: &str = "NOT EXISTS (SELECT FROM controls WHERE name = 'events' AND paused)";

type Row = (Uuid, Uuid, String, String, Uuid, i32, Option<Uuid>, DateTime<Utc>, bool);

/// Adds an event, unless it waits already or has ended: false then.
///
/// # Errors
/// See [`StoreError`].
pub(super) async fn accept(
    connection: &mut PgConnection,
    event: &RawEvent,
    dead_letter: Option<DeadLetterId>,
) -> Result<bool, StoreError> {
    let body = serde_json::to_string(event).expect("an event is plain data");
    let done = sqlx::query(
        "INSERT INTO event_queue (id, function_id, event_type, body, dead_letter_id) SELECT $1, $2, $3, $4, $5 \
         WHERE NOT EXISTS (SELECT FROM event_audit AS a WHERE a.event_id = $1) ON CONFLICT DO NOTHING",
    )
    .bind(event.id.as_uuid())
    .bind(event.function_id.as_uuid())
    .bind(event.event_type.as_str())
    .bind(body)
    .bind(dead_letter.map(DeadLetterId::as_uuid))
    .execute(connection)
    .await
    .map_err(StoreError::from_sqlx)?;
    Ok(done.rows_affected() > 0)
}

impl Store {
    /// Accepts events, all or none; says how many of them are new. When it returns, they are done or dead letters
    /// one day, whatever happens.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn accept_events(&self, events: &[RawEvent]) -> Result<usize, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(StoreError::from_sqlx)?;
        let mut new = 0;
        for event in events {
            new += usize::from(accept(&mut transaction, event, None).await?);
        }
        transaction.commit().await.map_err(StoreError::from_sqlx)?;
        Ok(new)
    }

    /// Takes the event that has waited longest, of any function but these.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_event(&self, lease: Duration, but: &[FunctionId]) -> Result<Option<Taken>, StoreError> {
        let but: Vec<Uuid> = but.iter().map(|id| id.as_uuid()).collect();
        // Materialized: as a plain subquery it could be run again for each row, and take more than one.
        let statement = format!(
            "WITH free AS MATERIALIZED (SELECT id FROM event_queue WHERE available_at <= now() \
             AND function_id <> ALL ($2) AND {RUNNING} ORDER BY available_at, id LIMIT 1 FOR UPDATE SKIP LOCKED) \
             UPDATE event_queue AS q SET lease_token = gen_random_uuid(), available_at = now() + $1, \
             deliveries = q.deliveries + 1, announced_at = NULL FROM free WHERE q.id = free.id RETURNING {TAKEN}"
        );
        let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(interval(lease))
            .bind(but)
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::from_sqlx)?;
        row.map(taken).transpose()
    }

    /// Takes this event, unless another worker has it, it is not there, or events are paused.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_this_event(&self, id: EventId, lease: Duration) -> Result<Option<Taken>, StoreError> {
        let statement = format!(
            "UPDATE event_queue AS q SET lease_token = gen_random_uuid(), available_at = now() + $1, \
             deliveries = q.deliveries + 1, announced_at = NULL \
             WHERE q.id = $2 AND q.available_at <= now() AND {RUNNING} RETURNING {TAKEN}"
        );
        let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(interval(lease))
            .bind(id.as_uuid())
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::from_sqlx)?;
        row.map(taken).transpose()
    }

    /// Keeps an event for another `lease`; false when it is somebody else's by now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep_event(&self, taken: &Taken, lease: Duration) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE event_queue SET available_at = now() + $3 WHERE id = $1 AND lease_token = $2")
            .bind(taken.id.as_uuid())
            .bind(taken.token)
            .bind(interval(lease))
            .execute(&self.pool)
            .await
            .map_err(StoreError::from_sqlx)?;
        Ok(done.rows_affected() > 0)
    }

    /// Puts an event back, to be taken after `delay`: as `body`, or as it was. Nothing happens when it is somebody
    /// else's by now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn put_event_back(&self, taken: &Taken, body: Option<&str>, delay: Duration) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE event_queue SET body = COALESCE($3, body), available_at = now() + $4, lease_token = NULL, \
             deliveries = 0, announced_at = NULL WHERE id = $1 AND lease_token = $2",
        )
        .bind(taken.id.as_uuid())
        .bind(taken.token)
        .bind(body)
        .bind(interval(delay))
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(StoreError::from_sqlx)
    }

    /// What waits.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn event_queue_depth(&self) -> Result<QueueDepth, StoreError> {
        let (waiting, in_flight, oldest_s): (i64, i64, f64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE NOT taken), count(*) FILTER (WHERE taken), \
             COALESCE(EXTRACT(EPOCH FROM now() - min(accepted_at)), 0)::double precision \
             FROM (SELECT accepted_at, lease_token IS NOT NULL AND available_at > now() AS taken FROM event_queue) AS q",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::from_sqlx)?;
        Ok(QueueDepth {
            waiting: u64::try_from(waiting).unwrap_or(0),
            in_flight: u64::try_from(in_flight).unwrap_or(0),
            oldest: Duration::try_from_secs_f64(oldest_s).unwrap_or_default(),
        })
    }

    /// Events that a broker has not been told of since they became available, those that wait longest first: id,
    /// type and body.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn unannounced_events(&self, limit: i64) -> Result<Vec<(EventId, EventType, String)>, StoreError> {
        let rows: Vec<(Uuid, String, String)> = sqlx::query_as(
            "SELECT id, event_type, body FROM event_queue WHERE announced_at IS NULL AND available_at <= now() \
             ORDER BY available_at, id LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::from_sqlx)?;
        rows.into_iter().map(|(id, event_type, body)| Ok((id.into(), parsed(&event_type)?, body))).collect()
    }

    /// The broker has these. One that was taken and put back meanwhile is not among them any more: its retry is
    /// announced again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn events_announced(&self, events: &[EventId]) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = events.iter().map(|id| id.as_uuid()).collect();
        sqlx::query(
            "UPDATE event_queue SET announced_at = now() WHERE id = ANY ($1) AND announced_at IS NULL \
             AND lease_token IS NULL AND available_at <= now()",
        )
        .bind(ids)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(StoreError::from_sqlx)
    }

    /// Has events announced again that nobody has taken although the broker was told of them so long ago: it may
    /// have lost them. Announcing twice does no harm.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn announce_forgotten_events(&self, after: Duration) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "UPDATE event_queue SET announced_at = NULL WHERE announced_at <= now() - $1 AND available_at <= now()",
        )
        .bind(interval(after))
        .execute(&self.pool)
        .await
        .map_err(StoreError::from_sqlx)?;
        Ok(done.rows_affected())
    }
}

fn taken(row: Row) -> Result<Taken, StoreError> {
    let (id, function_id, event_type, body, token, deliveries, dead_letter, accepted_at, has_ended) = row;
    Ok(Taken {
        id: id.into(),
        function_id: function_id.into(),
        event_type: parsed(&event_type)?,
        body,
        token,
        deliveries,
        dead_letter: dead_letter.map(DeadLetterId::from),
        accepted_at,
        has_ended,
    })
}

fn parsed(event_type: &str) -> Result<EventType, StoreError> {
    event_type.parse().map_err(|error| StoreError::Unreadable(Box::new(error)))
}

pub(super) fn interval(duration: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}
