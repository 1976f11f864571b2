//! A build, as the build service tells of it and the lambda service hears of it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{FunctionId, JobId, RuntimeName};

/// Where a build is: `queued → building → completed | failed | cancelled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildState {
    /// Accepted and stored; no worker has it yet. Set by the master.
    Queued,
    /// A worker has it under a lease. Set by the worker that took it; entered again when a lease was lost.
    Building,
    /// Its artifact is stored. Set by the worker that holds the lease.
    Completed,
    /// The package is at fault, or too many workers died over it.
    Failed,
    /// A client did not want it any more.
    Cancelled,
}

const IMAGE_KEY_PREFIX: &str = "images/";
const DIGEST_CHARS: usize = 64;

/// The key by which a function's row names an image as its code; `digest` is the SHA-256 that Docker has for it, in hex.
#[must_use]
pub fn image_key(digest: &str) -> String {
    format!("{IMAGE_KEY_PREFIX}{digest}")
}

/// The image that such a key names, as Docker is asked for it; `None` when it names none.
#[must_use]
pub fn image_of_key(key: &str) -> Option<String> {
    let digest = key.strip_prefix(IMAGE_KEY_PREFIX)?;
    let is_digest =
        digest.len() == DIGEST_CHARS && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_digest.then(|| format!("sha256:{digest}"))
}

/// A state that is none of a build's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a build's state (queued, building, completed, failed or cancelled)")]
pub struct UnknownBuildState(pub String);

impl BuildState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Building, Self::Completed, Self::Failed, Self::Cancelled];

    /// The word in answers and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Building => "building",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a build in this state never changes again.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for BuildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BuildState {
    type Err = UnknownBuildState;

    fn from_str(text: &str) -> Result<Self, UnknownBuildState> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| UnknownBuildState(text.chars().take(64).collect()))
    }
}

/// The body of a webhook: a transition of a build, in the envelope that Standard Webhooks recommends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildEvent {
    /// `build.` and the state.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When the transition happened.
    pub timestamp: DateTime<Utc>,
    /// What happened.
    pub data: BuildReport,
}

/// One transition of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildReport {
    /// The build.
    pub job_id: JobId,
    /// The function it is for.
    pub function_id: FunctionId,
    /// Which build of this function it is, from 1. A receiver that has seen a higher one ignores this.
    pub version: i64,
    /// Which transition of this build it is, from 1.
    pub sequence: i32,
    /// What the build is now.
    pub status: BuildState,
    /// How often a worker took it.
    pub attempt: i32,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<BuildFailure>,
    /// What came of it: the BLAKE3 digest of the artifact, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_digest: Option<String>,
    /// The object that holds it, for receivers that register functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_key: Option<String>,
    /// The function as it was asked for; only for receivers that register functions, because it has the
    /// environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<BuiltFunction>,
}

/// Why a build failed, for the function's author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildFailure {
    /// A code for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// A function as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltFunction {
    /// Its unique name.
    pub name: String,
    /// Its runtime.
    pub runtime: RuntimeName,
    /// The handler to call.
    pub handler: String,
    /// Timeout of a call, in seconds.
    pub timeout: u32,
    /// Memory of a call, in MB.
    pub memory: u32,
    /// Environment variables of a call.
    pub environment: BTreeMap<String, String>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// Whether it is to be started at once, so that its first call finds it running.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warm: bool,
}

impl BuildEvent {
    /// The event of a transition that happened at this moment.
    #[must_use]
    pub fn new(timestamp: DateTime<Utc>, data: BuildReport) -> Self {
        Self { event_type: format!("build.{}", data.status), timestamp, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_written_as_they_are_read() {
        for state in BuildState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).expect("a word"), state.as_str());
        }
        assert!("Queued".parse::<BuildState>().is_err());
    }
}
