//! The service's settings.

use std::path::PathBuf;

use domain::Runtime;
use layered_config::{ByteSize, HumanDuration, Report, Secret, Validate};
use objects::ObjectsConfig;
use sandbox::SandboxConfig;
use serde::Deserialize;
use service::{HttpConfig, ServiceConfig};
use telemetry::TelemetryConfig;

use crate::{dry_runs::DryRunConfig, pool, recorder};

/// All of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where and how to serve.
    pub http: HttpConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// Where functions and executions are.
    pub database: DatabaseConfig,
    /// Where code is.
    pub objects: ObjectsConfig,
    /// Code in memory.
    pub code: CodeConfig,
    /// How functions are isolated.
    pub sandbox: SandboxConfig,
    /// How many workers there are.
    pub pool: PoolConfig,
    /// How executions are recorded.
    pub recorder: RecorderConfig,
    /// Calls that leave no trace.
    pub dry_run: DryRunConfig,
    /// The monolith beside which this service runs.
    pub legacy: LegacyConfig,
}

/// The database.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`.
    pub url: Secret,
    /// The schema with `functions` and `invocations`: the service's own tables, or views over those
    /// of the monolith.
    pub schema: String,
    /// Whether the service makes its schema and tables itself. Not in the shared data stage, where
    /// the views are made by the migration.
    pub migrate: bool,
    /// Most connections at a time.
    pub max_connections: u32,
    /// How long a statement waits for a connection.
    pub acquire_timeout: HumanDuration,
    /// How long a statement may run.
    pub statement_timeout: HumanDuration,
    /// How often the database and the object store are asked whether they are there.
    pub probe_interval: HumanDuration,
}

/// What is known of the monolith.
#[derive(Debug, Clone, Deserialize)]
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

/// Code in memory.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CodeConfig {
    /// How much source is kept in memory.
    pub cache: ByteSize,
}

/// Workers.
#[derive(Debug, Clone, Deserialize)]
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
    /// How long the start of a worker waits for the sandbox, which is not there yet when the service
    /// has only just started; then the call is answered with 503.
    pub sandbox_wait: HumanDuration,
    /// A worker that was not called for this long is stopped.
    pub idle_ttl: HumanDuration,
    /// Workers that start at the same time.
    pub max_starts: usize,
    /// Workers of one function that start at the same time.
    pub max_starts_per_function: usize,
}

/// The history of executions.
#[derive(Debug, Clone, Deserialize)]
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

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            schema: "lambda_service".to_owned(),
            migrate: true,
            max_connections: 16,
            acquire_timeout: HumanDuration::from_secs(5),
            statement_timeout: HumanDuration::from_secs(10),
            probe_interval: HumanDuration::from_secs(2),
        }
    }
}

impl Default for CodeConfig {
    fn default() -> Self {
        Self { cache: ByteSize::from_mib(64) }
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
            max_concurrency: self.max_concurrency,
            max_queue: self.max_queue,
            max_starts: self.max_starts,
            max_starts_per_function: self.max_starts_per_function,
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
        report.nested("objects", |report| self.objects.validate(report));
        report.nested("sandbox", |report| self.sandbox.validate(report));
        report.nested("pool", |report| self.pool.validate(report));
        report.nested("recorder", |report| self.recorder.validate(report));
        report.nested("dry_run", |report| self.dry_run.validate(report));
    }
}

impl Validate for DatabaseConfig {
    fn validate(&self, report: &mut Report) {
        let url = self.url.expose();
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            report.problem(
                "url",
                "it is not the address of a PostgreSQL database",
                "write \"postgres://user:password@host:5432/database\"",
            );
        }
        let mut letters = self.schema.bytes();
        let starts_well = letters.next().is_some_and(|first| first.is_ascii_lowercase() || first == b'_');
        let goes_on_well = letters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !starts_well || !goes_on_well || self.schema.len() > 63 {
            report.problem(
                "schema",
                "it is not a plain lower-case identifier of at most 63 letters, digits and underscores",
                "write a name such as \"lambda_service\"",
            );
        }
        at_least_one(report, "max_connections", u64::from(self.max_connections));
        longer_than_zero(report, "acquire_timeout", self.acquire_timeout);
        longer_than_zero(report, "statement_timeout", self.statement_timeout);
        longer_than_zero(report, "probe_interval", self.probe_interval);
    }
}

impl Validate for PoolConfig {
    fn validate(&self, report: &mut Report) {
        at_least_one(report, "max_workers", self.max_workers as u64);
        at_least_one(report, "max_concurrency", self.max_concurrency as u64);
        at_least_one(report, "max_starts", self.max_starts as u64);
        at_least_one(report, "max_starts_per_function", self.max_starts_per_function as u64);
        longer_than_zero(report, "queue_wait", self.queue_wait);
        longer_than_zero(report, "idle_ttl", self.idle_ttl);
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
        at_least_one(report, "segment", self.segment.bytes());
        at_least_one(report, "journal_max", self.journal_max.bytes());
        at_least_one(report, "max_pending", self.max_pending as u64);
        at_least_one(report, "batch_rows", self.batch_rows as u64);
        longer_than_zero(report, "flush_timeout", self.flush_timeout);
    }
}

fn at_least_one(report: &mut Report, key: &str, value: u64) {
    if value == 0 {
        report.problem(key, "it must be at least 1", "write a number above 0");
    }
}

fn longer_than_zero(report: &mut Report, key: &str, duration: HumanDuration) {
    if duration.get().is_zero() {
        report.problem(key, "it must be longer than zero", "write a duration such as \"5s\"");
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
            [database]
            url = "mysql://x"
            schema = "Robert'); DROP"
            max_connections = 0
            [pool]
            max_workers = 0
            idle_ttl = "0s"
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
            "pool.max_workers",
            "pool.idle_ttl",
            "recorder.journal",
            "dry_run.secret",
            "dry_run.max_nonces",
        ] {
            assert!(keys.contains(&key), "{key} is not in {keys:?}");
        }
    }
}
