//! What the routes of triggers, webhooks, events and dead letters answer with.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{AuditId, DeadLetterId, EventId, FunctionId, TriggerId, WebhookId};

/// 202 of an asynchronous call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventAccepted {
    /// By which its end is audited.
    pub event_id: EventId,
}

/// A line of `GET /api/v1/functions/{id}/triggers/cron`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerItem {
    /// Id of the trigger.
    pub id: TriggerId,
    /// The function it calls.
    pub function_id: FunctionId,
    /// A name for people.
    pub name: String,
    /// Six fields, seconds first.
    pub cron_expression: String,
    /// An IANA time zone.
    pub timezone: String,
    /// Whether it fires.
    pub enabled: bool,
    /// When it fired last.
    pub last_run_at: Option<DateTime<Utc>>,
    /// The earliest firing that has not been fired; none when there is none.
    pub next_run_at: Option<DateTime<Utc>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When its row last changed.
    pub updated_at: DateTime<Utc>,
}

/// 201 of `POST /api/v1/functions/{id}/webhooks`: the webhook, secret and all (a quirk).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookItem {
    /// Id of the webhook.
    pub id: WebhookId,
    /// The function it calls.
    pub function_id: FunctionId,
    /// A name for people.
    pub name: String,
    /// Where it is received, below `/webhooks/`.
    pub path: String,
    /// The key of its signatures; empty when it takes from anybody.
    pub secret: String,
    /// The header that has the signature.
    pub signature_header: String,
    /// Whether it is received.
    pub enabled: bool,
    /// Metadata that each of its events gets.
    pub headers: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When its row last changed.
    pub updated_at: DateTime<Utc>,
}

/// A line of `GET /api/v1/dlq`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetterItem {
    /// Id of the dead letter.
    pub id: DeadLetterId,
    /// The event that was given up.
    pub event_id: EventId,
    /// The function that failed.
    pub function_id: FunctionId,
    /// What the event stemmed from.
    pub event_type: String,
    /// What the function was called with.
    pub payload: Value,
    /// How it failed last.
    pub error_message: String,
    /// Failures after the first.
    pub retry_count: i32,
    /// How many there may be.
    pub max_retries: i32,
    /// When the function was first called for it.
    pub first_attempt_at: DateTime<Utc>,
    /// When it was last called.
    pub last_attempt_at: DateTime<Utc>,
    /// Never set: a dead letter is tried again by hand.
    pub next_retry_at: Option<DateTime<Utc>>,
    /// `pending` or `retrying`.
    pub status: String,
    /// When it was given up.
    pub created_at: DateTime<Utc>,
}

/// A line of `GET /api/v1/functions/{id}/events`: the end of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditItem {
    /// Id of the line.
    pub id: AuditId,
    /// The event.
    pub event_id: EventId,
    /// The function that it was for.
    pub function_id: FunctionId,
    /// What it stemmed from.
    pub event_type: String,
    /// `success` or `failed`.
    pub status: String,
    /// How long the last attempt took.
    pub duration_ms: i64,
    /// How it failed, if it did.
    pub error_message: Option<String>,
    /// When it ended.
    pub created_at: DateTime<Utc>,
}
