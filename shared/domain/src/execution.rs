//! How an execution ended.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How an execution ended. All three are an answer with status 200: the platform did its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutionStatus {
    /// The handler returned a value that can be written as JSON.
    Success,
    /// The handler raised, exited, was killed, or returned what is not JSON.
    Failed,
    /// The handler did not answer within the function's timeout.
    Timeout,
}

/// A status that is none of `success`, `failed`, `timeout`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an execution status (success, failed or timeout)")]
pub struct UnknownStatus(pub String);

impl ExecutionStatus {
    /// The word in answers and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }
}

impl fmt::Display for ExecutionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ExecutionStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        match text {
            "success" => Ok(Self::Success),
            "failed" => Ok(Self::Failed),
            "timeout" => Ok(Self::Timeout),
            other => Err(UnknownStatus(other.to_owned())),
        }
    }
}
