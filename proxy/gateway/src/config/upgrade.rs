//! Settings of the upgrade in place.

use std::path::PathBuf;

use layered_config::{HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

/// How the gateway is replaced by a new process without closing its listeners.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpgradeConfig {
    /// The longest the new process may take to be ready. After that it is ended and the old one goes on.
    pub deadline: HumanDuration,
    /// Where the id of the process that serves is written, relative to the configuration file.
    /// Nowhere unless given.
    pub pid_file: Option<PathBuf>,
}

impl Default for UpgradeConfig {
    fn default() -> Self {
        Self { deadline: HumanDuration::from_secs(30), pid_file: None }
    }
}

impl Validate for UpgradeConfig {
    fn validate(&self, report: &mut Report) {
        if self.deadline.get().is_zero() {
            report.problem("deadline", "it must not be zero", "write a duration such as \"30s\"");
        }
        if self.pid_file.as_ref().is_some_and(|file| file.file_name().is_none()) {
            report.problem("pid_file", "it names no file", "write a path such as \"/run/gateway.pid\"");
        }
    }
}
