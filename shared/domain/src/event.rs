//! The event: what travels on the bus of either side.

use std::{collections::BTreeMap, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{EventId, FunctionId};

/// How often an event is tried again after its first failure, when its publisher says nothing.
pub const DEFAULT_MAX_RETRIES: u32 = 3;

/// Metadata key: when the event's function was first called, as RFC 3339.
const FIRST_ATTEMPT_AT: &str = "first_attempt_at";

/// What an event stems from; also its routing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    /// A call over HTTP that shall be made later.
    Http,
    /// A cron trigger fired.
    Cron,
    /// A webhook was received.
    Webhook,
    /// A message of a queue.
    Queue,
    /// A record of a stream.
    Stream,
}

/// A word that is no event type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no type of event (http, cron, webhook, queue or stream)")]
pub struct UnknownEventType(pub String);

impl EventType {
    /// Every type.
    pub const ALL: [Self; 5] = [Self::Http, Self::Cron, Self::Webhook, Self::Queue, Self::Stream];

    /// The word on the wire, in the database and as routing key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Cron => "cron",
            Self::Webhook => "webhook",
            Self::Queue => "queue",
            Self::Stream => "stream",
        }
    }
}

impl FromStr for EventType {
    type Err = UnknownEventType;

    fn from_str(text: &str) -> Result<Self, UnknownEventType> {
        let found = Self::ALL.into_iter().find(|event_type| event_type.as_str() == text);
        found.ok_or_else(|| UnknownEventType(text.chars().take(64).collect()))
    }
}

/// An event, as its JSON body on the bus. Its payload is read as JSON, or kept as it was written
/// ([`serde_json::value::RawValue`]) by whoever only passes it on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event<P = Value> {
    /// Two deliveries with the same id are the same event.
    pub id: EventId,
    /// What it stems from.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// The function to call.
    pub function_id: FunctionId,
    /// What the function is called with.
    #[serde(default)]
    pub payload: P,
    /// Words about the event that are not for the function.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// When it happened.
    pub timestamp: DateTime<Utc>,
    /// How often its function has failed so far.
    #[serde(default)]
    pub retry_count: u32,
    /// After this many failures beyond the first it is given up.
    #[serde(default = "default_max_retries")]
    pub max_retries: u32,
}

const fn default_max_retries() -> u32 {
    DEFAULT_MAX_RETRIES
}

impl<P> Event<P> {
    /// An event that happened now.
    #[must_use]
    pub fn new(event_type: EventType, function_id: FunctionId, payload: P) -> Self {
        Self {
            id: EventId::generate(),
            event_type,
            function_id,
            payload,
            metadata: BTreeMap::new(),
            timestamp: Utc::now(),
            retry_count: 0,
            max_retries: DEFAULT_MAX_RETRIES,
        }
    }

    /// The event as it is delivered again after its function failed at `attempted_at`; `None` when
    /// it has had all its retries.
    #[must_use]
    pub fn after_failure(&self, attempted_at: DateTime<Utc>) -> Option<Self>
    where
        P: Clone,
    {
        if self.retry_count >= self.max_retries {
            return None;
        }
        let mut again = self.clone();
        again.retry_count += 1;
        again.metadata.entry(FIRST_ATTEMPT_AT.to_owned()).or_insert_with(|| attempted_at.to_rfc3339());
        Some(again)
    }

    /// When the function was first called for this event; `fallback` when it never was before.
    #[must_use]
    pub fn first_attempt_at(&self, fallback: DateTime<Utc>) -> DateTime<Utc> {
        self.metadata
            .get(FIRST_ATTEMPT_AT)
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
            .map_or(fallback, |at| at.with_timezone(&Utc))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Event {
        Event::new(EventType::Webhook, FunctionId::generate(), json!({"n": 1}))
    }

    #[test]
    fn the_body_has_the_contracts_fields() {
        let event = event();
        let body = serde_json::to_value(&event).expect("plain data");
        assert_eq!(
            body,
            json!({
                "id": event.id, "type": "webhook", "function_id": event.function_id, "payload": {"n": 1},
                "metadata": {}, "timestamp": event.timestamp, "retry_count": 0, "max_retries": 3
            })
        );
        assert_eq!(serde_json::from_value::<Event>(body).expect("its own body"), event);
    }

    #[test]
    fn an_event_is_tried_once_and_then_as_often_as_it_may_be_retried() {
        let first = Utc::now();
        let mut event = event();
        let mut attempts = 1;
        while let Some(again) = event.after_failure(first + chrono::TimeDelta::seconds(attempts)) {
            event = again;
            attempts += 1;
        }
        assert_eq!((attempts, event.retry_count), (4, 3));
        assert_eq!(event.first_attempt_at(Utc::now()), first + chrono::TimeDelta::seconds(1));
    }
}
