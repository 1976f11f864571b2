//! The service's settings.

use std::{collections::BTreeMap, path::PathBuf};

use database::DatabaseConfig;
use domain::{Language, Runtime, RuntimeName, contract};
use function_package::Limits;
use layered_config::{ByteSize, HumanDuration, Report, Secret, Validate};
use objects::ObjectsConfig;
use runtimes::{Protocol, RuntimesConfig};
use sandbox::SandboxConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use service::{AdminConfig, HttpConfig, ServiceConfig};
use standardwebhooks::{Webhook, WebhookError};
use telemetry::TelemetryConfig;

use crate::{
    cache::CacheConfig, cron::CronConfig, dry_runs::DryRunConfig, events::EventsConfig, executor::ContainersConfig,
    pool, recorder, webhooks::WebhooksConfig,
};

/// All of it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where and how to serve.
    pub http: HttpConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// Where functions and executions are.
    pub database: DatabaseConfig,
    /// How functions are kept between calls.
    pub cache: CacheConfig,
    /// Where code is.
    pub objects: ObjectsConfig,
    /// Code in memory.
    pub code: CodeConfig,
    /// Which runtimes there are.
    pub runtimes: RuntimesConfig,
    /// What runs functions.
    pub executor: ExecutorKind,
    /// How functions are isolated in sandboxes.
    pub sandbox: SandboxConfig,
    /// How functions are isolated in Docker.
    pub docker: ContainersConfig,
    /// How many workers there are.
    pub pool: PoolConfig,
    /// Interpreters that wait for functions that have no worker yet: unless set, one of each language.
    pub prewarmed: PrewarmedList,
    /// How executions are recorded.
    pub recorder: RecorderConfig,
    /// Calls that leave no trace.
    pub dry_run: DryRunConfig,
    /// The build service whose builds become functions.
    pub builds: BuildsConfig,
    /// The monolith beside which this service runs.
    pub legacy: LegacyConfig,
    /// Events, and how they are worked off.
    pub events: EventsConfig,
    /// Cron triggers.
    pub cron: CronConfig,
    /// Webhooks in.
    pub webhooks: WebhooksConfig,
    /// The routes of operators.
    pub admin: AdminConfig,
}

/// What runs functions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExecutorKind {
    /// Process sandboxes on this machine.
    #[default]
    Sandbox,
    /// Docker's containers on this machine.
    Docker,
}

/// The build service.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BuildsConfig {
    /// What both know, as Standard Webhooks writes it: `whsec_` and base64. Without it no message is taken.
    pub secret: Secret,
}

/// What is known of the monolith.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LegacyConfig {
    /// The runtimes it knows. Functions of others are listed as those that only this service can serve.
    pub runtimes: Vec<Runtime>,
}

impl Default for LegacyConfig {
    fn default() -> Self {
        use Runtime::{Go121, Nodejs18, Nodejs20, Python39, Python311};
        Self { runtimes: vec![Python39, Python311, Nodejs18, Nodejs20, Go121] }
    }
}

/// Code that is kept near.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CodeConfig {
    /// How much source is kept in memory.
    pub cache: ByteSize,
    /// Packages on the disk.
    pub packages: PackagesConfig,
}

/// Packages on the disk.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PackagesConfig {
    /// Where they are unpacked: every instance's own, and below folders that the users whom workers run as may pass
    /// through. Unless set, a folder below the system's temporary one, gone when the service ends.
    pub folder: Option<PathBuf>,
    /// How much room they may take. Those used longest ago go first, never one that a worker runs. Archives on their
    /// way in come on top, one for each package that is being fetched.
    pub size: ByteSize,
    /// What one package may be at most: as in the build service that made it, or more.
    pub limits: Limits,
}

/// Workers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PoolConfig {
    /// Workers of all functions together.
    pub max_workers: usize,
    /// Workers of one function, which is the number of its calls that run at once.
    pub max_concurrency: usize,
    /// Calls of one function that may wait while all its workers are busy; the next one is answered
    /// with 429.
    pub max_queue: usize,
    /// How long a call waits for a worker before it is answered with 429.
    pub queue_wait: HumanDuration,
    /// How long the start of a worker waits for the sandbox or Docker, which is not there yet when the service
    /// has only just started; then the call is answered with 503.
    pub sandbox_wait: HumanDuration,
    /// A worker that was not called for this long is stopped.
    pub idle_ttl: HumanDuration,
    /// Workers that start at the same time.
    pub max_starts: usize,
    /// Workers of one function that start at the same time.
    pub max_starts_per_function: usize,
    /// Calls after which a worker is not used again; 1 makes every call a cold start.
    pub max_calls: Option<u64>,
    /// Age after which a worker is not used again.
    pub max_age: Option<HumanDuration>,
    /// Functions by their names, where something else holds for them.
    pub functions: BTreeMap<String, FunctionPoolConfig>,
}

/// What holds for one function's workers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FunctionPoolConfig {
    /// Workers that are there though nobody calls it, and that do not give way to others.
    pub least: usize,
    /// Workers at a time, instead of `max_concurrency`.
    pub most: Option<usize>,
    /// As `pool.max_calls`.
    pub max_calls: Option<u64>,
    /// As `pool.max_age`.
    pub max_age: Option<HumanDuration>,
}

/// Interpreters that wait for functions that have no worker yet.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrewarmedConfig {
    /// The runtime of the functions, one that is spoken to in the built-in way.
    pub runtime: RuntimeName,
    /// The memory of the functions, in MB: limits are set when an interpreter starts.
    #[serde(default = "default_memory_mb")]
    pub memory: u32,
    /// How many wait.
    pub count: usize,
}

fn default_memory_mb() -> u32 {
    contract::DEFAULT_MEMORY_MB
}

/// All of them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PrewarmedList(pub Vec<PrewarmedConfig>);

/// One of each language, for functions of the usual memory.
impl Default for PrewarmedList {
    fn default() -> Self {
        let one = |runtime: Runtime| PrewarmedConfig { runtime: runtime.into(), memory: default_memory_mb(), count: 1 };
        Self(vec![one(Runtime::Python311), one(Runtime::Nodejs20)])
    }
}

/// The history of executions.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RecorderConfig {
    /// Folder of the journal: on a disk that outlives the process, and every instance's own.
    pub journal: PathBuf,
    /// A segment of the journal is closed at this size.
    pub segment: ByteSize,
    /// With this much in the journal, invocations are refused with 503. Calls that run at that
    /// moment may add one row each, of at most 17 KiB.
    pub journal_max: ByteSize,
    /// With this many rows waiting for the database, invocations are refused with 503.
    pub max_pending: usize,
    /// Most rows in one statement.
    pub batch_rows: usize,
    /// The longest a row waits for its batch to fill.
    pub linger: HumanDuration,
    /// How long reading a history waits for this instance's own rows to be written, and how long a
    /// stop waits for all of them; what is left then stays in the journal for the next start.
    pub flush_timeout: HumanDuration,
}

impl Default for CodeConfig {
    fn default() -> Self {
        Self { cache: ByteSize::from_mib(64), packages: PackagesConfig::default() }
    }
}

impl Default for PackagesConfig {
    fn default() -> Self {
        Self { folder: None, size: ByteSize::from_mib(2048), limits: Limits::default() }
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_workers: 64,
            max_concurrency: 8,
            max_queue: 100,
            queue_wait: HumanDuration::from_secs(10),
            sandbox_wait: HumanDuration::from_secs(5),
            idle_ttl: HumanDuration::from_secs(300),
            max_starts: 4,
            max_starts_per_function: 2,
            max_calls: None,
            max_age: None,
            functions: BTreeMap::new(),
        }
    }
}

impl Default for RecorderConfig {
    fn default() -> Self {
        Self {
            journal: PathBuf::new(),
            segment: ByteSize::from_mib(4),
            journal_max: ByteSize::from_mib(256),
            max_pending: 100_000,
            batch_rows: 256,
            linger: HumanDuration::from_millis(10),
            flush_timeout: HumanDuration::from_secs(5),
        }
    }
}

impl PoolConfig {
    /// The part that the pool's books need.
    #[must_use]
    pub fn limits(&self) -> pool::Limits {
        pool::Limits {
            max_workers: self.max_workers,
            max_queue: self.max_queue,
            max_starts: self.max_starts,
            max_starts_per_function: self.max_starts_per_function,
        }
    }
}

impl PoolConfig {
    /// How each function's workers are kept.
    #[must_use]
    pub fn policies(&self) -> pool::Policies {
        let usual = pool::Policy {
            share: pool::Share { least: 0, most: self.max_concurrency },
            max_calls: self.max_calls,
            max_age: self.max_age.map(HumanDuration::get),
        };
        let named = self.functions.iter().map(|(name, wanted)| {
            let most = wanted.most.unwrap_or(self.max_concurrency.max(wanted.least));
            let policy = pool::Policy {
                share: pool::Share { least: wanted.least, most },
                max_calls: wanted.max_calls.or(usual.max_calls),
                max_age: wanted.max_age.map(HumanDuration::get).or(usual.max_age),
            };
            (name.clone(), policy)
        });
        pool::Policies { usual, named: named.collect() }
    }

    fn validate_functions(&self, report: &mut Report) {
        if self.max_calls == Some(0) {
            report.problem("max_calls", "a worker that answers no call is of no use", "write 1 or more");
        }
        for (name, wanted) in &self.functions {
            report.nested(&format!("functions.{name:?}"), |report| {
                if wanted.most.is_some_and(|most| most == 0 || most < wanted.least) {
                    report.problem("most", "it must be at least 1, and no less than `least`", "raise it");
                }
                if wanted.max_calls == Some(0) {
                    report.problem("max_calls", "a worker that answers no call is of no use", "write 1 or more");
                }
            });
        }
        let kept: usize = self.functions.values().map(|wanted| wanted.least).sum();
        if kept >= self.max_workers {
            let message = format!("{kept} workers are kept for functions by `least`, and others would never have one");
            report.problem("max_workers", message, "raise it above the sum of `least`");
        }
    }
}

impl RecorderConfig {
    /// The part that the recorder needs.
    #[must_use]
    pub fn settings(&self) -> recorder::Settings {
        recorder::Settings {
            journal: self.journal.clone(),
            segment_bytes: self.segment.bytes(),
            journal_max_bytes: self.journal_max.bytes(),
            max_pending: self.max_pending,
            batch_rows: self.batch_rows,
            linger: self.linger.get(),
        }
    }
}

impl BuildsConfig {
    /// What knows the build service's messages, if there is a secret.
    ///
    /// # Errors
    /// When the secret is none.
    pub fn webhook(&self) -> Result<Option<Webhook>, WebhookError> {
        (!self.secret.is_empty()).then(|| Webhook::new(self.secret.expose())).transpose()
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
        report.nested("http", |report| self.http.validate(report));
        report.nested("telemetry", |report| self.telemetry.validate(report));
        report.nested("database", |report| self.database.validate(report));
        report.nested("cache", |report| self.cache.validate(report));
        report.nested("objects", |report| self.objects.validate(report));
        report.nested("code.packages", |report| self.code.packages.validate(report));
        report.nested("runtimes", |report| self.runtimes.validate(report));
        report.nested("sandbox", |report| self.sandbox.validate(report));
        if self.executor == ExecutorKind::Docker {
            report.nested("docker", |report| self.docker.validate(report));
        }
        self.validate_prewarmed(report);
        report.nested("pool", |report| self.pool.validate(report));
        report.nested("recorder", |report| self.recorder.validate(report));
        report.nested("builds", |report| self.builds.validate(report));
        report.nested("dry_run", |report| self.dry_run.validate(report));
        report.nested("events", |report| self.events.validate(report));
        report.nested("cron", |report| self.cron.validate(report));
        report.nested("webhooks", |report| self.webhooks.validate(report));
        report.nested("admin", |report| self.admin.validate(report));
    }
}

impl Config {
    fn validate_prewarmed(&self, report: &mut Report) {
        for (index, wanted) in self.prewarmed.0.iter().enumerate() {
            let built_in = self.runtimes.find(&wanted.runtime).is_ok_and(|found| {
                found.protocol == Protocol::BuiltIn && matches!(found.language, Language::Python | Language::Node)
            });
            if !built_in {
                report.problem(
                    &format!("prewarmed[{index}].runtime"),
                    "no interpreter can wait for functions of this runtime",
                    "name a Python or Node runtime of `runtimes` with the built-in protocol, or remove the entry",
                );
            }
        }
    }
}

impl Validate for PackagesConfig {
    fn validate(&self, report: &mut Report) {
        report.nested("limits", |report| self.limits.validate(report));
        if self.size < self.limits.unpacked {
            report.problem("size", "it has no room for one package of the largest kind", "write \"2 GiB\"");
        }
        if self.folder.as_ref().is_some_and(|folder| !folder.is_absolute()) {
            report.problem("folder", "it is not an absolute path", "write one such as \"/var/cache/lambda-service\"");
        }
    }
}

impl Validate for BuildsConfig {
    fn validate(&self, report: &mut Report) {
        if self.webhook().is_err() || !(self.secret.is_empty() || self.secret.expose().starts_with("whsec_")) {
            report.problem(
                "secret",
                "it is not `whsec_` and base64",
                "write the secret of this receiver in the build service's settings",
            );
        }
    }
}

impl Validate for PoolConfig {
    fn validate(&self, report: &mut Report) {
        report.at_least_one("max_workers", self.max_workers as u64);
        report.at_least_one("max_concurrency", self.max_concurrency as u64);
        report.at_least_one("max_starts", self.max_starts as u64);
        report.at_least_one("max_starts_per_function", self.max_starts_per_function as u64);
        self.validate_functions(report);
        report.longer_than_zero("queue_wait", self.queue_wait);
        report.longer_than_zero("idle_ttl", self.idle_ttl);
    }
}

impl Validate for RecorderConfig {
    fn validate(&self, report: &mut Report) {
        if self.journal.as_os_str().is_empty() {
            report.problem(
                "journal",
                "no folder is named for the executions that the database does not have yet",
                "name a folder that survives a restart, such as \"/var/lib/lambda-service/journal\"",
            );
        }
        report.at_least_one("segment", self.segment.bytes());
        report.at_least_one("journal_max", self.journal_max.bytes());
        report.at_least_one("max_pending", self.max_pending as u64);
        report.at_least_one("batch_rows", self.batch_rows as u64);
        report.longer_than_zero("flush_timeout", self.flush_timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_configuration_is_valid() {
        let sample = include_str!("../lambda-service.toml");
        layered_config::load_str::<Config>("lambda-service.toml", sample).expect("the sample is valid");
    }

    #[test]
    fn every_problem_is_named() {
        let text = r#"
            executor = "docker"
            [docker]
            socket = "tcp://docker:2375"
            user = "0:0"
            limits.processes = 1
            [database]
            url = "mysql://x"
            schema = "Robert'); DROP"
            max_connections = 0
            [cache]
            kind = "redis"
            ttl = "0s"
            redis.timeout = "0s"
            [pool]
            max_workers = 0
            idle_ttl = "0s"
            max_calls = 0
            [pool.functions."a.b"]
            least = 3
            most = 2
            [[prewarmed]]
            runtime = "provided"
            count = 1
            [code.packages]
            folder = "here"
            size = "1 MiB"
            [code.packages.limits]
            ratio = 0
            [builds]
            secret = "whsec_!"
            [dry_run]
            secret = "short"
            max_nonces = 0
        "#;
        let problems = layered_config::load_str::<Config>("test.toml", text).expect_err("all of it is bad");
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        for key in [
            "database.url",
            "database.schema",
            "database.max_connections",
            "cache.ttl",
            "cache.redis.url",
            "cache.redis.timeout",
            "pool.max_workers",
            "pool.idle_ttl",
            "pool.max_calls",
            "pool.functions.\"a.b\".most",
            "prewarmed[0].runtime",
            "docker.socket",
            "docker.folder",
            "docker.user",
            "docker.limits.processes",
            "recorder.journal",
            "code.packages.folder",
            "code.packages.size",
            "code.packages.limits.ratio",
            "builds.secret",
            "dry_run.secret",
            "dry_run.max_nonces",
        ] {
            assert!(keys.contains(&key), "{key} is not in {keys:?}");
        }
    }
}
