//! Settings of what is kept of mismatches.

use std::path::{Path, PathBuf};

use layered_config::{ByteSize, HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RolloutConfig, StoreKind};

/// The most of a body that can be kept; a queue of such bodies is in memory.
const MAX_BODY_BYTES: u64 = 1 << 20;

/// What is kept of answers that differ, `[shadow.mismatches]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MismatchesConfig {
    /// Who keeps them: `embedded`, a folder on this machine, or `postgres`, the database of
    /// `[rollout.postgres]`, where all gateways see those of all.
    pub store: MismatchStore,
    /// The folder, relative to the configuration file.
    pub folder: PathBuf,
    /// How long they are kept.
    pub keep: HumanDuration,
    /// How many are kept. The folder is pruned in parts, so it may hold up to an eighth more.
    pub max_stored: usize,
    /// How much room they may take.
    pub max_stored_bytes: ByteSize,
    /// What is kept of each body: of the request, and of both answers.
    pub body_limit: ByteSize,
    /// How many may wait to be written; more are dropped and counted.
    pub queue: usize,
}

/// The kinds of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MismatchStore {
    /// A folder on this machine.
    Embedded,
    /// Tables in PostgreSQL.
    Postgres,
}

impl MismatchStore {
    /// The name in settings and API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres => "postgres",
        }
    }
}

impl Default for MismatchesConfig {
    fn default() -> Self {
        Self {
            store: MismatchStore::Embedded,
            folder: PathBuf::from("mismatches"),
            keep: HumanDuration::from_secs(7 * 24 * 3_600),
            max_stored: 10_000,
            max_stored_bytes: ByteSize::from_mib(64),
            body_limit: ByteSize::from_kib(16),
            queue: 128,
        }
    }
}

impl MismatchesConfig {
    pub(super) fn relative_to(&mut self, folder: &Path) {
        self.folder = folder.join(&self.folder);
    }

    /// The database is that of the rollout, also where the rollout itself is kept in a file.
    pub(super) fn check_database(&self, rollout: &RolloutConfig, report: &mut Report) {
        if self.store == MismatchStore::Postgres && rollout.store == StoreKind::File {
            report.nested("rollout", |report| report.nested("postgres", |report| rollout.postgres.validate(report)));
        }
    }
}

impl Validate for MismatchesConfig {
    fn validate(&self, report: &mut Report) {
        if self.keep.get().is_zero() {
            report.problem("keep", "nothing would be kept", "write a duration such as \"7days\"");
        }
        for (key, number, most) in [("max_stored", self.max_stored, 1_000_000), ("queue", self.queue, 10_000)] {
            if !(1..=most).contains(&number) {
                report.problem(key, "it is out of range", format!("write 1 to {most}"));
            }
        }
        if self.body_limit.bytes() == 0 || self.body_limit.bytes() > MAX_BODY_BYTES {
            report.problem("body_limit", "it is out of range", "write a size up to \"1MiB\"");
        }
        if self.max_stored_bytes.bytes() < self.body_limit.bytes().saturating_mul(32) {
            let fix = "write at least 32 times `body_limit`";
            report.problem("max_stored_bytes", "hardly a mismatch would fit", fix);
        }
    }
}

#[cfg(test)]
mod tests {
    use layered_config::load_str;

    use crate::config::Config;

    const START: &str = "admin.token = \"0123456789abcdef\"\nupstreams.old.address = \"127.0.0.1:1\"\n\
                         [[routes]]\nname = \"a\"\npath = \"/a\"\nlegacy = \"old\"\n[shadow.mismatches]\n";

    #[test]
    fn each_bad_setting_of_mismatches_is_shown_where_it_is_with_its_fix() {
        for (line, place, fix) in [
            ("keep = \"0s\"", "shadow.mismatches.keep", "7days"),
            ("max_stored = 0", "shadow.mismatches.max_stored", "1 to 1000000"),
            ("queue = 10001", "shadow.mismatches.queue", "1 to 10000"),
            ("body_limit = \"2MiB\"", "shadow.mismatches.body_limit", "1MiB"),
            ("max_stored_bytes = \"1KiB\"", "shadow.mismatches.max_stored_bytes", "32 times"),
            ("store = \"postgres\"", "rollout.postgres.url", "postgres://"),
        ] {
            let problems = load_str::<Config>("gateway.toml", &format!("{START}{line}\n")).unwrap_err().to_string();
            assert!(problems.contains(place) && problems.contains(fix), "{line}: {problems}");
        }
        load_str::<Config>("gateway.toml", START).unwrap();
    }
}
