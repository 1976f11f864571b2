//! What the rollout document says of a slice: whose its rows are, and how far they have come.
//!
//! ```toml
//! [slices.functions]
//! owner = "candidate"     # who alone writes its rows: legacy, candidate
//! stage = "cut-over"      # shared, synced, cut-over, complete
//! ```
//!
//! `strangler db` writes this, each owner after the rows have come to it. A hand that changes the owner moves
//! no rows, so such an edit is refused.

use std::fmt;

use layered_config::Report;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::Side;

/// How far the rows of a slice have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DataStage {
    /// Both sides work on the monolith's rows.
    #[default]
    Shared,
    /// The same, and a copy in the candidate's own database follows.
    Synced,
    /// The rows are the candidate's, and a copy in the monolith's database follows.
    CutOver,
    /// The rows are the candidate's, and there is no way back.
    Complete,
}

impl DataStage {
    /// The name in documents and API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Synced => "synced",
            Self::CutOver => "cut-over",
            Self::Complete => "complete",
        }
    }

    /// Whose the rows are.
    #[must_use]
    pub const fn owner(self) -> Side {
        match self {
            Self::Shared | Self::Synced => Side::Legacy,
            Self::CutOver | Self::Complete => Side::Candidate,
        }
    }
}

impl fmt::Display for DataStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSlice {
    /// Whose its rows are.
    owner: Side,
    /// How far they have come.
    pub(super) stage: DataStage,
}

impl RawSlice {
    pub(super) fn check(&self, key: &str, running: Option<DataStage>, report: &mut Report) {
        if self.owner != self.stage.owner() {
            let message = format!("in stage `{}` the owner is the {}", self.stage, self.stage.owner().as_str());
            let fix = "restore both lines as they were; `strangler history` has them";
            report.problem(&format!("{key}.owner"), message, fix);
        }
        check_running(key, self.stage, running, report);
    }
}

/// Refuses a stage that is not the running one where that would give the slice another owner.
pub(super) fn check_running(key: &str, stage: DataStage, running: Option<DataStage>, report: &mut Report) {
    if let Some(running) = running.filter(|running| running.owner() != stage.owner()) {
        let message = format!("its rows are the {}'s, and no edit moves them", running.owner().as_str());
        let verb = if stage.owner() == Side::Candidate { "cutover" } else { "rollback" };
        let fix = format!("write stage = \"{running}\"; `strangler db {verb}` moves the rows and then changes this");
        report.problem(key, message, fix);
    }
}
