//! Settings of the executor that runs functions in Docker.

use std::path::PathBuf;

use containers::DockerConfig;
use layered_config::{HumanDuration, Report, Validate};
use sandbox::Limits;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where Docker is, and what a function's container may do. Images are the runtimes' own settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContainersConfig {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// How long the daemon may take to answer one request.
    pub timeout: HumanDuration,
    /// A folder of this service's own, which it makes: the streams of its workers are in it, and what tells the containers
    /// of a life that was killed from those of one that still is. The daemon must see it under the same path. Replicas on
    /// one machine may share it.
    pub folder: Option<PathBuf>,
    /// User and group, by number, that functions run as.
    pub user: String,
    /// The Python interpreter in images, unless the runtime names one.
    pub python: String,
    /// The Node interpreter in images, unless the runtime names one.
    pub node: String,
    /// How long an interpreter may take to start and to load a function's code, beside what Docker needs for a container.
    pub start_timeout: HumanDuration,
    /// What one worker may use; memory is the function's setting.
    pub limits: Limits,
}

impl Default for ContainersConfig {
    fn default() -> Self {
        let DockerConfig { socket, timeout } = DockerConfig::default();
        Self {
            socket,
            timeout,
            folder: None,
            user: "65534:65534".to_owned(),
            python: "python3".to_owned(),
            node: "node".to_owned(),
            start_timeout: HumanDuration::from_secs(10),
            limits: Limits::default(),
        }
    }
}

impl ContainersConfig {
    /// The part that says where the daemon is.
    #[must_use]
    pub fn daemon(&self) -> DockerConfig {
        DockerConfig { socket: self.socket.clone(), timeout: self.timeout }
    }

    /// The folder, which settings that are valid have.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_default()
    }
}

impl Validate for ContainersConfig {
    fn validate(&self, report: &mut Report) {
        self.daemon().validate(report);
        if !self.folder.as_ref().is_some_and(|folder| folder.is_absolute()) {
            report.problem(
                "folder",
                "workers in Docker need a folder for their streams, by an absolute path",
                "name one of this service's own, such as \"/var/lib/lambda-service/containers\"",
            );
        }
        let is_number = |text: &str| text.parse::<u32>().is_ok_and(|number| number > 0);
        if !self.user.split_once(':').is_some_and(|(user, group)| is_number(user) && is_number(group)) {
            report.problem("user", "it is not a user and a group other than root, by number", "write \"65534:65534\"");
        }
        if self.start_timeout.get().is_zero() {
            report.problem("start_timeout", "nothing starts in no time", "write \"10s\"");
        }
        report.nested("limits", |report| self.limits.validate(report));
    }
}
