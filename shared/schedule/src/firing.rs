//! What a firing is called.

use chrono::{DateTime, Utc};
use domain::{EventId, TriggerId};

/// The id of a trigger's firing at one due time: the same however often, and by whomever, it is published.
#[must_use]
pub fn firing_id(trigger: TriggerId, due_at: DateTime<Utc>) -> EventId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(trigger.as_uuid().as_bytes());
    hasher.update(&due_at.timestamp_micros().to_be_bytes());
    let mut random = [0; 10];
    random.copy_from_slice(&hasher.finalize().as_bytes()[..10]);
    let milliseconds = u64::try_from(due_at.timestamp_millis()).unwrap_or(0);
    EventId::from(uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firing_is_recognised_by_its_trigger_and_due_time() {
        let (trigger, due_at) = (TriggerId::generate(), Utc::now());
        let id = firing_id(trigger, due_at);
        assert_eq!(id, firing_id(trigger, due_at));
        assert_ne!(id, firing_id(TriggerId::generate(), due_at));
        assert_ne!(id, firing_id(trigger, due_at + chrono::TimeDelta::microseconds(1)));
        assert_eq!(id.as_uuid().get_version_num(), 7);
    }
}
