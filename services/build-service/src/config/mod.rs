//! The service's settings.

mod images;
mod webhooks;

use std::path::PathBuf;

use database::DatabaseConfig;
use function_package::Limits;
use layered_config::{ByteSize, HumanDuration, Report, Validate};
use messaging::RabbitmqConfig;
use objects::ObjectsConfig;
use runtimes::RuntimesConfig;
use sandbox::SandboxConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service::{HttpConfig, ServiceConfig};
use telemetry::TelemetryConfig;

pub use images::ImagesConfig;
pub(crate) use webhooks::is_secret;
pub use webhooks::{ReceiverConfig, WebhooksConfig};

/// All of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What this process does: `master`, `worker` or `both`.
    pub role: Role,
    /// Where packages are on their way through: on a disk with room for `packages.max_uploads` packages and
    /// `worker.concurrency` unpacked ones. Processes may share it.
    pub work_folder: PathBuf,
    /// Where and how to serve.
    pub http: HttpConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// Where builds are.
    pub database: DatabaseConfig,
    /// Where packages and artifacts are: the bucket that the lambda service reads code from.
    pub objects: ObjectsConfig,
    /// What is taken from clients.
    pub packages: PackagesConfig,
    /// Which runtimes packages may be for: the same list as the lambda service's.
    pub runtimes: RuntimesConfig,
    /// Functions of inline code.
    pub creation: CreationConfig,
    /// How long a client's Idempotency-Key is known.
    pub idempotency_ttl: HumanDuration,
    /// How jobs get from masters to workers.
    pub queue: QueueConfig,
    /// How jobs are built.
    pub worker: WorkerConfig,
    /// How packages with a Dockerfile are built; without it none is taken.
    pub images: Option<ImagesConfig>,
    /// Where handlers are parsed.
    pub sandbox: SandboxConfig,
    /// Who is told of builds.
    pub webhooks: WebhooksConfig,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves clients, tells receivers, watches over leases.
    Master,
    /// Builds.
    Worker,
    /// All of it, for one machine.
    Both,
}

impl Role {
    /// Whether it serves clients.
    #[must_use]
    pub const fn is_master(self) -> bool {
        matches!(self, Self::Master | Self::Both)
    }

    /// Whether it builds.
    #[must_use]
    pub const fn is_worker(self) -> bool {
        matches!(self, Self::Worker | Self::Both)
    }
}

/// What is taken from clients.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PackagesConfig {
    /// What a package may be at most.
    pub limits: Limits,
    /// The most a request may hold that has its package in JSON, because that one is held in memory.
    /// Larger packages come as `multipart/form-data`.
    pub json_limit: ByteSize,
    /// Packages that are received at the same time; the next one is answered with 503.
    pub max_uploads: usize,
    /// How long a client may take to send its package.
    pub upload_timeout: HumanDuration,
}

/// Functions of inline code (`POST /api/v1/functions`), for which a receiver is needed that registers functions.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreationConfig {
    /// How long a client waits until its function is registered; then there is none, and it is answered with 503.
    pub deadline: HumanDuration,
}

impl Default for CreationConfig {
    fn default() -> Self {
        Self { deadline: HumanDuration::from_secs(5) }
    }
}

/// How jobs get from masters to workers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// `database` or `rabbitmq`.
    pub kind: QueueKind,
    /// A job that no worker has taken for this long after it was announced is announced again: the broker may
    /// have lost it.
    pub announce_again: HumanDuration,
    /// Settings of RabbitMQ.
    pub rabbitmq: RabbitmqConfig,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            kind: QueueKind::default(),
            announce_again: HumanDuration::from_secs(300),
            rabbitmq: RabbitmqConfig::default(),
        }
    }
}

/// The queues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueKind {
    /// Workers look for jobs in the database, and are woken by it.
    #[default]
    Database,
    /// RabbitMQ tells workers of jobs.
    Rabbitmq,
}

/// How jobs are built.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// Builds at the same time.
    pub concurrency: u16,
    /// A worker that has said nothing for this long has lost its job to another. It says something three
    /// times in this time.
    pub lease: HumanDuration,
    /// How often a job is taken; after that many workers have lost it, it has failed.
    pub max_attempts: i32,
    /// How long one build may take, waiting for the object store included.
    pub build_timeout: HumanDuration,
    /// How long running builds may go on after SIGTERM; then their jobs are given back.
    pub drain: HumanDuration,
    /// How often a worker looks for jobs that nobody told it of.
    pub poll_interval: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: Role::Both,
            work_folder: PathBuf::new(),
            http: HttpConfig::default(),
            telemetry: TelemetryConfig::default(),
            database: DatabaseConfig::default(),
            objects: ObjectsConfig::default(),
            packages: PackagesConfig::default(),
            runtimes: RuntimesConfig::default(),
            creation: CreationConfig::default(),
            idempotency_ttl: HumanDuration::from_secs(24 * 3_600),
            queue: QueueConfig::default(),
            worker: WorkerConfig::default(),
            images: None,
            sandbox: SandboxConfig { control_group_name: "build-service".to_owned(), ..SandboxConfig::default() },
            webhooks: WebhooksConfig::default(),
        }
    }
}

impl Default for PackagesConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            json_limit: ByteSize::from_mib(16),
            max_uploads: 16,
            upload_timeout: HumanDuration::from_secs(600),
        }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            concurrency: 2,
            lease: HumanDuration::from_secs(30),
            max_attempts: 5,
            build_timeout: HumanDuration::from_secs(600),
            drain: HumanDuration::from_secs(20),
            poll_interval: HumanDuration::from_secs(2),
        }
    }
}

impl ServiceConfig for Config {
    fn http(&self) -> &HttpConfig {
        &self.http
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }
}

impl Validate for Config {
    fn validate(&self, report: &mut Report) {
        if self.work_folder.as_os_str().is_empty() {
            report.problem(
                "work_folder",
                "no folder is named for packages on their way through",
                "name a folder with room, such as \"/var/lib/build-service/work\"",
            );
        }
        if self.role.is_worker() && self.worker.drain >= self.http.drain_deadline {
            report.problem(
                "worker.drain",
                format!("it must be shorter than http.drain_deadline ({})", self.http.drain_deadline),
                "write a shorter duration, so that jobs can still be given back",
            );
        }
        report.nested("http", |report| self.http.validate(report));
        report.nested("telemetry", |report| self.telemetry.validate(report));
        report.nested("database", |report| self.database.validate(report));
        report.nested("objects", |report| self.objects.validate(report));
        report.nested("packages", |report| self.packages.validate(report));
        report.nested("runtimes", |report| self.runtimes.validate(report));
        report.longer_than_zero("creation.deadline", self.creation.deadline);
        report.longer_than_zero("idempotency_ttl", self.idempotency_ttl);
        report.nested("queue", |report| self.queue.validate(report));
        report.nested("worker", |report| self.worker.validate(report));
        if let Some(images) = &self.images {
            report.nested("images", |report| images.validate(report));
        }
        report.nested("sandbox", |report| self.sandbox.validate(report));
        report.nested("webhooks", |report| self.webhooks.validate(report));
    }
}

impl Validate for PackagesConfig {
    fn validate(&self, report: &mut Report) {
        report.nested("limits", |report| self.limits.validate(report));
        report.at_least_one("json_limit", self.json_limit.bytes());
        report.at_least_one("max_uploads", self.max_uploads as u64);
        report.longer_than_zero("upload_timeout", self.upload_timeout);
    }
}

impl Validate for QueueConfig {
    fn validate(&self, report: &mut Report) {
        report.longer_than_zero("announce_again", self.announce_again);
        if self.kind == QueueKind::Rabbitmq {
            report.nested("rabbitmq", |report| self.rabbitmq.validate(report));
        }
    }
}

impl Validate for WorkerConfig {
    fn validate(&self, report: &mut Report) {
        report.at_least_one("concurrency", u64::from(self.concurrency));
        report.at_least_one("max_attempts", u64::try_from(self.max_attempts).unwrap_or(0));
        if self.lease.get().as_millis() < 500 {
            report.problem("lease", "a worker could not say that it lives", "write at least \"500ms\"");
        }
        report.longer_than_zero("build_timeout", self.build_timeout);
        report.longer_than_zero("poll_interval", self.poll_interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_configuration_is_valid() {
        let sample = include_str!("../../build-service.toml");
        layered_config::load_str::<Config>("build-service.toml", sample).expect("the sample is valid");
    }

    #[test]
    fn every_problem_is_named() {
        let text = r#"
            idempotency_ttl = "0s"
            creation.deadline = "0s"
            [database]
            url = "mysql://x"
            [packages]
            json_limit = "0"
            max_uploads = 0
            limits.ratio = 0
            [queue]
            kind = "rabbitmq"
            announce_again = "0s"
            rabbitmq.url = "http://x"
            [worker]
            concurrency = 0
            lease = "10ms"
            max_attempts = -1
            drain = "1h"
            [images]
            socket = "docker.sock"
            memory = "1 MiB"
            cpu_cores = 0.0
            max_size = "0"
            [webhooks]
            secret = "short"
            allow = ["10.0.0.0/33", "a b"]
            max_attempts = 0
            [webhooks.receivers.client]
            url = "ftp://x"
            [webhooks.receivers.b]
            url = "http://user:password@x/{job_id}"
            secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        "#;
        let problems = layered_config::load_str::<Config>("test.toml", text).expect_err("all of it is bad");
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        for key in [
            "work_folder",
            "database.url",
            "idempotency_ttl",
            "creation.deadline",
            "packages.json_limit",
            "packages.max_uploads",
            "packages.limits.ratio",
            "queue.announce_again",
            "queue.rabbitmq.url",
            "worker.concurrency",
            "worker.lease",
            "worker.max_attempts",
            "worker.drain",
            "images.socket",
            "images.memory",
            "images.cpu_cores",
            "images.max_size",
            "webhooks.secret",
            "webhooks.allow[0]",
            "webhooks.allow[1]",
            "webhooks.max_attempts",
            "webhooks.receivers.client",
            "webhooks.receivers.client.url",
            "webhooks.receivers.client.secret",
            "webhooks.receivers.b.url",
        ] {
            assert!(keys.contains(&key), "{key} is not in {keys:?}");
        }
        assert!(!problems.to_string().contains("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    }
}
