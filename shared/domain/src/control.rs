//! What an operator, or a cutover, has paused: the same words on both sides.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Whether something is paused, as `GET /admin/cron` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlState {
    /// Whether it is.
    pub paused: bool,
    /// Since when it is, or is not.
    pub since: DateTime<Utc>,
    /// Why, in the words of whoever changed it last.
    pub reason: String,
}

/// The body of `POST /admin/cron/pause` and `/resume`; none at all is one without a reason. What else it says is
/// passed over: a hook of a cutover also names its slice and its direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlChange {
    /// Why.
    pub reason: String,
}
