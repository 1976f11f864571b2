//! Settings of packages with a Dockerfile.

use std::path::PathBuf;

use containers::DockerConfig;
use layered_config::{ByteSize, HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

/// How images are built. A service without these settings builds none, and refuses packages that ask for one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ImagesConfig {
    /// The daemon's socket. Images stay with this daemon: functions that are images run where it is.
    pub socket: PathBuf,
    /// How long the daemon may take to answer; a build as a whole has `worker.build_timeout`.
    pub timeout: HumanDuration,
    /// Whether commands of a Dockerfile have a network, and images that are not on the machine are fetched.
    pub allow_network: bool,
    /// Memory of a build's commands.
    pub memory: ByteSize,
    /// Processors' worth of CPU time of a build's commands.
    pub cpu_cores: f64,
    /// What an image may be at most, with the one that it is built on.
    pub max_size: ByteSize,
    /// How much of a build's log is kept, under `build-logs/` in the bucket.
    pub log: ByteSize,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self {
            socket: DockerConfig::default().socket,
            timeout: HumanDuration::from_secs(120),
            allow_network: false,
            memory: ByteSize::from_mib(1024),
            cpu_cores: 1.0,
            max_size: ByteSize::from_mib(2048),
            log: ByteSize::from_mib(1),
        }
    }
}

impl ImagesConfig {
    /// The part that says where the daemon is.
    #[must_use]
    pub fn daemon(&self) -> DockerConfig {
        DockerConfig { socket: self.socket.clone(), timeout: self.timeout }
    }
}

impl Validate for ImagesConfig {
    fn validate(&self, report: &mut Report) {
        self.daemon().validate(report);
        // Docker's own least.
        if self.memory.bytes() < 6 << 20 {
            report.problem("memory", "Docker allows no less than 6 MiB", "write \"1 GiB\"");
        }
        if !(self.cpu_cores >= 0.01 && self.cpu_cores <= 1024.0) {
            report.problem("cpu_cores", "must be between 0.01 and 1024", "write 1.0");
        }
        report.at_least_one("max_size", self.max_size.bytes());
    }
}
