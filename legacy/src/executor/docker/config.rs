//! Settings of Docker.

use std::collections::HashMap;

use domain::Runtime;
use layered_config::{HumanDuration, Report, Validate};
use sandbox::Limits;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where Docker is, and what its containers are made of.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DockerConfig {
    /// The daemon's socket.
    pub socket: String,
    /// The image of each runtime; a runtime without one cannot be called.
    pub images: HashMap<Runtime, DockerImage>,
    /// Names this replica's containers among those of others on the same daemon: at its start, a
    /// replica removes what a former life of the same name left behind.
    pub pool: String,
    /// How many containers of each image are started ahead of the first call.
    pub warm: u16,
    /// User and group that functions run as.
    pub user: String,
    /// How long an interpreter may take to start and to load a function's code.
    pub start_timeout: HumanDuration,
    /// What one call may use; memory is the executor's setting.
    pub limits: Limits,
}

/// An image with an interpreter and `/bin/sh` in it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DockerImage {
    /// Name of the image; it must be there already, and is never pulled.
    pub image: String,
    /// The interpreter inside it, such as `python3`.
    pub interpreter: String,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            socket: "/var/run/docker.sock".to_owned(),
            images: HashMap::new(),
            pool: "legacy".to_owned(),
            warm: 1,
            user: "65534:65534".to_owned(),
            start_timeout: HumanDuration::from_secs(10),
            limits: Limits::default(),
        }
    }
}

impl Validate for DockerConfig {
    fn validate(&self, report: &mut Report) {
        if self.images.is_empty() {
            report.problem(
                "images",
                "no runtime has an image, so no function could run",
                "add a table such as [executor.docker.images.\"python3.11\"] with `image` and `interpreter`",
            );
        }
        if self.pool.is_empty() {
            report.problem("pool", "it is empty", "name this replica, such as \"legacy-1\"");
        }
        if self.start_timeout.get().is_zero() {
            report.problem("start_timeout", "nothing starts in no time", "write e.g. \"10s\"");
        }
        report.nested("limits", |report| self.limits.validate(report));
    }
}
