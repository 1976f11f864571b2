use std::{borrow::Cow, fmt};

use http::HeaderMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// gRPC's status code UNAVAILABLE.
const GRPC_UNAVAILABLE: &[u8] = b"14";

/// A way in which an upstream fails a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The connection could not be made; nothing was sent.
    Connect,
    /// It was silent for too long before its answer began.
    Timeout,
    /// It closed or reset the connection, or broke the protocol, before its answer began.
    Reset,
    /// It answered with gRPC's status UNAVAILABLE instead of a message.
    GrpcUnavailable,
    /// It answered with this status.
    Status(u16),
}

/// Some kinds of failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct FailureKinds(Vec<FailureKind>);

impl FailureKind {
    /// The failure that an answer is, if it is one that is ever counted.
    pub(crate) fn of_answer(status: u16, headers: &HeaderMap) -> Option<Self> {
        if status >= 400 {
            return Some(Self::Status(status));
        }
        // In the header only when there is no message: a trailers-only answer.
        let grpc_status = headers.get("grpc-status")?;
        (grpc_status.as_bytes() == GRPC_UNAVAILABLE).then_some(Self::GrpcUnavailable)
    }
}

impl FailureKinds {
    /// These.
    #[must_use]
    pub fn new(kinds: impl IntoIterator<Item = FailureKind>) -> Self {
        Self(kinds.into_iter().collect())
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn contains(&self, kind: FailureKind) -> bool {
        self.0.contains(&kind)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Timeout => f.write_str("timeout"),
            Self::Reset => f.write_str("reset"),
            Self::GrpcUnavailable => f.write_str("grpc_unavailable"),
            Self::Status(status) => status.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for FailureKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let status = |text: &str| text.parse().ok().filter(|status| *status == 429 || (500..600).contains(status));
        match text.as_str() {
            "connect" => Ok(Self::Connect),
            "timeout" => Ok(Self::Timeout),
            "reset" => Ok(Self::Reset),
            "grpc_unavailable" => Ok(Self::GrpcUnavailable),
            other => status(other).map(Self::Status).ok_or_else(|| {
                de::Error::custom(
                    "expected \"connect\", \"timeout\", \"reset\", \"grpc_unavailable\", or a status: \"429\", \"500\" to \"599\"",
                )
            }),
        }
    }
}

impl Serialize for FailureKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for FailureKind {
    fn schema_name() -> Cow<'static, str> {
        "FailureKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "failure",
            "type": "string",
            "anyOf": [
                {"enum": ["connect", "timeout", "reset", "grpc_unavailable", "429"]},
                {"pattern": "^5[0-9][0-9]$"}
            ]
        })
    }
}

impl<'de> Deserialize<'de> for FailureKinds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}
