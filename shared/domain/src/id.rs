//! Typed ids: each is a UUID (version 7 when we make it), and none can be passed for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Text that is not a UUID where an id was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: an id is a UUID such as 018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f")]
pub struct InvalidId {
    /// What the text was meant to name, such as "function id".
    pub kind: &'static str,
    /// The text as it was given, cut to 64 characters.
    pub text: String,
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id: UUID version 7, so that ids sort by the time they were made.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The UUID behind the id, for a database or a digest.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Accepts the hyphenated form only: the database of the monolith holds ids as text,
            /// where another spelling of the same UUID would be another row.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = || InvalidId { kind: $kind, text: text.chars().take(64).collect() };
                if text.len() != 36 {
                    return Err(invalid());
                }
                Uuid::try_parse(text).map(Self).map_err(|_| invalid())
            }
        }
    };
}

typed_id!(
    /// One function.
    FunctionId, "function id"
);
typed_id!(
    /// One execution of a function; the candidate calls it an invocation.
    ExecutionId, "execution id"
);
typed_id!(
    /// One cron trigger.
    TriggerId, "trigger id"
);
typed_id!(
    /// One inbound webhook.
    WebhookId, "webhook id"
);
typed_id!(
    /// One event on the bus.
    EventId, "event id"
);
typed_id!(
    /// One entry of the dead-letter queue.
    DeadLetterId, "dead letter id"
);
typed_id!(
    /// One line of the event audit.
    AuditId, "audit id"
);
typed_id!(
    /// One subscription of a function to events.
    SubscriptionId, "subscription id"
);
typed_id!(
    /// One build of a function.
    JobId, "job id"
);
typed_id!(
    /// One message to one receiver of webhooks.
    DeliveryId, "delivery id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_sort_by_time_and_survive_text() {
        let first = FunctionId::generate();
        let second = FunctionId::generate();
        assert!(first < second);
        assert_eq!(first.to_string().parse::<FunctionId>(), Ok(first));
    }

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        for text in ["", "nope", "018f3c5e7d1a7cc38a510b8c1c0d9e2f", "{018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f}"] {
            let error = text.parse::<FunctionId>().expect_err(text);
            assert_eq!(error.kind, "function id");
        }
    }
}
