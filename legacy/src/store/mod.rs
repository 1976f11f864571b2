//! The monolith's database, `mini_lambda`: the only module that writes SQL.
//!
//! Ids are UUIDs kept as text and times are UTC without a zone; both are translated here and
//! nowhere else. Each sub-module owns one table and adds its queries to [`Store`].

mod audit;
mod cron_pause;
mod dead_letters;
mod event_journal;
mod executions;
mod functions;
mod triggers;
mod webhooks;

use std::{borrow::Cow, str::FromStr, time::Duration};

use chrono::{DateTime, NaiveDateTime, Utc};
use layered_config::{HumanDuration, Report, Secret, Validate};
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::{
    PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

pub(crate) use audit::{AuditEntry, AuditStatus};
pub(crate) use dead_letters::DeadLetter;
pub(crate) use executions::ExecutionRecord;
pub(crate) use functions::StoredFunction;
pub(crate) use triggers::{NewTrigger, TriggerClaim};
pub(crate) use webhooks::NewWebhook;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Where `mini_lambda` is and how many connections to it are kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/mini_lambda`.
    pub url: Secret,
    /// The most connections that are open at once.
    pub max_connections: u32,
    /// How long a request waits for a connection before it fails.
    pub acquire_timeout: HumanDuration,
    /// How long the server may work on one statement before it gives up.
    pub statement_timeout: HumanDuration,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            max_connections: 20,
            acquire_timeout: HumanDuration::from_secs(5),
            statement_timeout: HumanDuration::from_secs(30),
        }
    }
}

impl Validate for DatabaseConfig {
    fn validate(&self, report: &mut Report) {
        let url = self.url.expose();
        let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !is_postgres || PgConnectOptions::from_str(url).is_err() {
            report.problem(
                "url",
                "it is not the address of a PostgreSQL database",
                "write postgres://user:password@host:port/mini_lambda",
            );
        }
        if self.max_connections < 2 {
            report.problem("max_connections", "the scheduler needs one of its own", "allow at least 2 connections");
        }
        if self.acquire_timeout.get().is_zero() {
            report.problem("acquire_timeout", "no request could ever get a connection", "write e.g. \"5s\"");
        }
    }
}

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The settings do not name a database.
    #[error("the database's address cannot be read")]
    Address(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the schema of the database could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A unique value is taken.
    #[error("{operation}: the value is taken already")]
    Taken {
        /// What was being done.
        operation: &'static str,
    },
    /// The row refers to a function that does not exist.
    #[error("{operation}: no such function")]
    NoSuchFunction {
        /// What was being done.
        operation: &'static str,
    },
    /// A row holds what this program never writes.
    #[error("{operation}: the database holds `{value}`, which is not a valid {kind}")]
    Corrupt {
        /// What was being done.
        operation: &'static str,
        /// What the value should have been.
        kind: &'static str,
        /// What is there.
        value: String,
    },
    /// Anything else: the server is away, a statement took too long, a value did not fit.
    #[error("{operation} failed")]
    Query {
        /// What was being done.
        operation: &'static str,
        /// What PostgreSQL or the connection said.
        #[source]
        source: sqlx::Error,
    },
}

/// Names the operation of a failed query, and tells the two constraint violations that a caller
/// answers differently from everything else.
fn failed(operation: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| match source.as_database_error().map(sqlx::error::DatabaseError::kind) {
        Some(sqlx::error::ErrorKind::UniqueViolation) => StoreError::Taken { operation },
        Some(sqlx::error::ErrorKind::ForeignKeyViolation) => StoreError::NoSuchFunction { operation },
        _ => StoreError::Query { operation, source },
    }
}

/// Reads a typed value out of a text column.
fn parsed<T: FromStr>(operation: &'static str, kind: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt { operation, kind, value: text.chars().take(64).collect() })
}

/// PostgreSQL's text cannot hold NUL, which a function's error may.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// How a list is cut: `limit` rows after the first `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

fn utc(time: NaiveDateTime) -> DateTime<Utc> {
    time.and_utc()
}

/// A pool of connections to `mini_lambda`.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: PgPool,
}

impl Store {
    /// Prepares the pool; the first query connects.
    pub(crate) fn new(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let statement_timeout_ms = config.statement_timeout.get().as_millis().to_string();
        let options = PgConnectOptions::from_str(config.url.expose())
            .map_err(StoreError::Address)?
            .application_name("mini-lambda-legacy")
            .options([("statement_timeout", statement_timeout_ms.as_str()), ("timezone", "UTC")]);
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.acquire_timeout.get())
            .idle_timeout(Duration::from_secs(300))
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// Brings the schema up to date. Replicas that start at once wait for each other.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        MIGRATIONS.run(&self.pool).await.map_err(StoreError::Migrate)
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1").execute(&self.pool).await.map_err(failed("asking the database"))?;
        Ok(())
    }
}
