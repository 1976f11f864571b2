//! Settings of the sandbox.

use std::path::PathBuf;

use layered_config::{ByteSize, HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the sandbox finds what it runs, and what it allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxConfig {
    /// The `bwrap` program; looked for on `PATH` when not set.
    pub bwrap: Option<PathBuf>,
    /// The Python interpreter; `/usr/bin/python3` first, then `PATH`, when not set.
    pub python: Option<PathBuf>,
    /// The Node interpreter; `/usr/bin/node` first, then `PATH`, when not set.
    pub node: Option<PathBuf>,
    /// First of the user ids that workers run as when the service itself runs as root; each live
    /// worker has its own. They must belong to nobody else on the machine.
    pub first_uid: u32,
    /// How many such user ids there are, which is also the most workers alive at a time.
    pub uid_count: u32,
    /// Whether each worker gets a control group of its own.
    pub control_groups: ControlGroups,
    /// Whether system calls that functions have no use for are refused; with `false`, only what lacks privileges is.
    pub system_call_filter: bool,
    /// The control group under which the workers' groups are made: at the top of each hierarchy with
    /// cgroup v1, beside the service's own group with v2. One service, one name.
    pub control_group_name: String,
    /// How long an interpreter may take to start and to load the function's code.
    pub start_timeout: HumanDuration,
    /// What one worker may use.
    pub limits: Limits,
}

/// Whether workers get control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ControlGroups {
    /// Where the service may write them; otherwise resource limits alone bound a worker.
    Auto,
    /// Refuse to start where they cannot be written.
    Required,
    /// Never.
    Off,
}

/// What one worker, or one call, may use. Memory is the function's own setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Processes and threads at a time.
    pub processes: u32,
    /// Open files of each process.
    pub open_files: u32,
    /// Size of the private `/tmp`, and of any one file in it.
    pub tmp: ByteSize,
    /// Printed text that is kept of one call; the rest is counted and dropped.
    pub logs: ByteSize,
    /// Size of one result.
    pub output: ByteSize,
    /// Size of one event.
    pub event: ByteSize,
    /// Processors' worth of CPU time (with control groups): 0.5 is half of one.
    pub cpu_cores: f64,
    /// CPU time of any one process of a worker over its whole life, after which the kernel kills it:
    /// the last resort against a process that outlives every other bound.
    pub cpu_lifetime: HumanDuration,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            bwrap: None,
            python: None,
            node: None,
            first_uid: 900_000,
            uid_count: 4096,
            control_groups: ControlGroups::Auto,
            system_call_filter: true,
            control_group_name: "mini-lambda-workers".to_owned(),
            start_timeout: HumanDuration::from_secs(10),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processes: 64,
            open_files: 256,
            tmp: ByteSize::from_mib(64),
            logs: ByteSize::from_kib(256),
            output: ByteSize::from_mib(6),
            event: ByteSize::from_mib(6),
            cpu_cores: 1.0,
            cpu_lifetime: HumanDuration::from_secs(3600),
        }
    }
}

/// Frames carry their lengths in 32 bits, and a whole payload is held in memory.
const LARGEST_PAYLOAD_BYTES: u64 = 256 * 1024 * 1024;

impl Validate for SandboxConfig {
    fn validate(&self, report: &mut Report) {
        if self.first_uid == 0 || self.first_uid.checked_add(self.uid_count).is_none() {
            report.problem("first_uid", "the range of user ids starts at root or ends beyond 32 bits", "use 900000");
        }
        if self.uid_count == 0 {
            report.problem("uid_count", "at least one user id is needed", "use 4096");
        }
        let name = &self.control_group_name;
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            report.problem(
                "control_group_name",
                "this cannot be the name of a control group",
                "use one name without `/`, such as \"mini-lambda-workers\"",
            );
        }
        if self.start_timeout.get().is_zero() {
            report.problem("start_timeout", "nothing starts in no time", "use \"10s\"");
        }
        report.nested("limits", |report| self.limits.validate(report));
    }
}

impl Validate for Limits {
    fn validate(&self, report: &mut Report) {
        if self.processes < 16 {
            report.problem("processes", "Node alone needs 16 threads", "use 64");
        }
        if self.open_files < 32 {
            report.problem("open_files", "an interpreter alone needs 32", "use 256");
        }
        if self.tmp.bytes() < 64 * 1024 {
            report.problem("tmp", "a /tmp of less than 64 KiB is of no use", "use \"64 MiB\"");
        }
        for (key, size) in [("output", self.output), ("event", self.event)] {
            if size.bytes() == 0 || size.bytes() > LARGEST_PAYLOAD_BYTES {
                report.problem(key, "must be between 1 byte and 256 MiB", "use \"6 MiB\"");
            }
        }
        if !(self.cpu_cores >= 0.01 && self.cpu_cores <= 1024.0) {
            report.problem("cpu_cores", "must be between 0.01 and 1024", "use 1.0");
        }
        if self.cpu_lifetime.get().as_secs() == 0 {
            report.problem("cpu_lifetime", "must be at least a second", "use \"1h\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        let config: SandboxConfig = layered_config::load_str("sandbox.toml", "").expect("the defaults are valid");
        assert_eq!(config, SandboxConfig::default());
    }

    #[test]
    fn every_bad_setting_is_named() {
        let text = r#"
            first_uid = 0
            uid_count = 0
            control_group_name = "a/b"
            start_timeout = "0s"
            [limits]
            processes = 1
            open_files = 3
            tmp = "1 KiB"
            output = "1 GiB"
            event = "0"
            cpu_cores = 0.0
            cpu_lifetime = "10ms"
        "#;
        let problems = layered_config::load_str::<SandboxConfig>("sandbox.toml", text).expect_err("all of it is bad");
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "first_uid",
                "uid_count",
                "control_group_name",
                "start_timeout",
                "limits.processes",
                "limits.open_files",
                "limits.tmp",
                "limits.output",
                "limits.event",
                "limits.cpu_cores",
                "limits.cpu_lifetime"
            ]
        );
    }
}
