//! Settings of Docker.

use std::path::PathBuf;

use layered_config::{HumanDuration, Report, Validate};
use serde::{Deserialize, Serialize};

/// Where Docker is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DockerConfig {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// How long the daemon may take to answer one request; what takes its time, such as a build, is not meant.
    pub timeout: HumanDuration,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self { socket: "/var/run/docker.sock".into(), timeout: HumanDuration::from_secs(30) }
    }
}

impl Validate for DockerConfig {
    fn validate(&self, report: &mut Report) {
        if !self.socket.is_absolute() {
            let fix = "write the path of the daemon's socket, such as \"/var/run/docker.sock\"";
            report.problem("socket", "it is not an absolute path; only a daemon on this machine can be used", fix);
        }
        if self.timeout.get().as_secs() == 0 {
            report.problem("timeout", "it must be at least a second", "write \"30s\"");
        }
    }
}
