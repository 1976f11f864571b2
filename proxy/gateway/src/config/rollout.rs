//! Settings of the rollout: where its document is kept and how it is followed.

use std::path::{Path, PathBuf};

use layered_config::{HumanDuration, Report, Secret, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// PostgreSQL cuts names at 63 bytes; the channel's name is the schema's and eight more.
const MAX_SCHEMA_BYTES: usize = 50;

/// Where the rollout document is and how it is watched.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutConfig {
    /// Who keeps the document: `file` for the gateways of one machine, `postgres` for those of many.
    pub store: StoreKind,
    /// The document's file, relative to the configuration file. With `store = "postgres"` a copy of
    /// the document in force, which the gateway starts from while PostgreSQL is away.
    pub file: PathBuf,
    /// The change log of the file store; beside the document unless given.
    pub log: Option<PathBuf>,
    /// How often the store is looked at although no change was notified.
    pub poll_interval: HumanDuration,
    /// The shared store.
    pub postgres: PostgresConfig,
}

/// The kinds of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// The document's file and a change log beside it.
    File,
    /// A table in PostgreSQL.
    Postgres,
}

impl StoreKind {
    /// The name in settings, status and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Postgres => "postgres",
        }
    }
}

/// The shared store.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host/database`; with `?sslmode=verify-full&sslrootcert=FILE` the
    /// connection is encrypted and the server's certificate checked.
    pub url: Secret,
    /// The schema that holds the store's tables; made when it is missing.
    pub schema: String,
    /// The longest a connection may take to be made.
    pub connect_timeout: HumanDuration,
    /// The longest each step of a change may take: to be written, and to be committed.
    pub timeout: HumanDuration,
    /// The longest pause between two attempts to reach a store that is away.
    pub retry_interval: HumanDuration,
    /// A gateway that has not been heard of for this long is not waited for when writes are held everywhere.
    pub instance_lease: HumanDuration,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            store: StoreKind::File,
            file: PathBuf::from("rollout.toml"),
            log: None,
            poll_interval: HumanDuration::from_millis(500),
            postgres: PostgresConfig::default(),
        }
    }
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            schema: "strangler".to_owned(),
            connect_timeout: HumanDuration::from_secs(1),
            timeout: HumanDuration::from_secs(2),
            retry_interval: HumanDuration::from_secs(1),
            instance_lease: HumanDuration::from_secs(3),
        }
    }
}

impl RolloutConfig {
    /// Names every file from the folder of the configuration file.
    pub(super) fn relative_to(&mut self, folder: &Path) {
        self.file = folder.join(&self.file);
        self.log = self.log.take().map(|log| folder.join(log));
    }
}

impl Validate for RolloutConfig {
    fn validate(&self, report: &mut Report) {
        if self.file.file_name().is_none() {
            report.problem("file", "it names no file", "write a file name such as \"rollout.toml\"");
        }
        if self.poll_interval.get().is_zero() {
            report.problem("poll_interval", "it must not be zero", "write a duration such as \"500ms\"");
        }
        if self.store == StoreKind::Postgres {
            report.nested("postgres", |report| self.postgres.validate(report));
        }
    }
}

impl Validate for PostgresConfig {
    fn validate(&self, report: &mut Report) {
        let fix = "write postgres://user:password@host/database, here or as GATEWAY__ROLLOUT__POSTGRES__URL";
        if self.url.is_empty() {
            report.problem("url", "it is required with store = \"postgres\" and not set", fix);
        } else if self.url.expose().parse::<sqlx::postgres::PgConnectOptions>().is_err() {
            report.problem("url", "it is no address of a PostgreSQL database", fix);
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let starts_well = self.schema.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts_well || !self.schema.chars().all(plain) || self.schema.len() > MAX_SCHEMA_BYTES {
            let fix = "write up to 50 lower case letters, digits and underscores, a letter first";
            report.problem("schema", "it is not usable as a schema's name", fix);
        }
        for (key, duration) in [
            ("connect_timeout", self.connect_timeout),
            ("timeout", self.timeout),
            ("retry_interval", self.retry_interval),
            ("instance_lease", self.instance_lease),
        ] {
            if duration.get().is_zero() {
                report.problem(key, "it must not be zero", "write a duration such as \"1s\"");
            }
        }
    }
}
