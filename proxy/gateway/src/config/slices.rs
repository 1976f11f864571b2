//! Settings of slices.

use layered_config::{ByteSize, HumanDuration, Report};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::route_table::UpstreamId;

/// Tables that move together to a database of the candidate's own. While they are the monolith's, the
/// candidate of the slice's routes works on the monolith's rows; once they are the candidate's, all of its
/// routes are served by `candidate` here.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SliceConfig {
    /// The upstream of the candidate that runs on its own database.
    pub candidate: String,
    /// The longest that a fence may hold writes, and that one write may be held.
    #[serde(default = "max_hold")]
    pub max_hold: HumanDuration,
    /// How many writes may be held at once; more are answered with 503.
    #[serde(default = "max_waiting")]
    pub max_waiting: usize,
    /// How much the bodies of held writes may take: those that were read for their key, and 64 KiB at most of
    /// each other, as much as its connection takes in.
    #[serde(default = "max_waiting_bytes")]
    pub max_waiting_bytes: ByteSize,
}

fn max_hold() -> HumanDuration {
    HumanDuration::from_secs(10)
}

fn max_waiting() -> usize {
    1_000
}

fn max_waiting_bytes() -> ByteSize {
    ByteSize::from_mib(64)
}

impl SliceConfig {
    /// The upstream on the slice's own database, if there is one of that name.
    pub(super) fn upstream(&self, upstreams: &[&str]) -> Option<UpstreamId> {
        upstreams.iter().position(|upstream| *upstream == self.candidate).map(UpstreamId)
    }

    pub(super) fn validate(&self, name: &str, upstreams: &[&str], report: &mut Report) {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(bare) {
            let fix = "write up to 64 letters, digits, dashes and underscores";
            report.problem("", "it is not usable as a name in documents and metrics", fix);
        }
        if self.upstream(upstreams).is_none() {
            let fix = format!("add a table [upstreams.{}], or name one that is there", self.candidate);
            report.problem("candidate", format!("there is no upstream `{}`", self.candidate), fix);
        }
        if self.max_hold.get().is_zero() {
            report.problem("max_hold", "no fence could stand", "write a duration such as \"10s\"");
        }
        if self.max_waiting == 0 || self.max_waiting_bytes.bytes() == 0 {
            let fix = "write at least 1, and \"64KiB\"";
            report.problem("max_waiting", "no write could be held, so each would fail", fix);
        }
    }
}
