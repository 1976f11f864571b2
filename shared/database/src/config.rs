//! Settings of the database, and connections by them.

use std::{str::FromStr, time::Duration};

use layered_config::{HumanDuration, Report, Secret, Validate};
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// After this long without use, a connection is asked whether it still works.
const RESTED: Duration = Duration::from_secs(1);

/// The URL is none. It may hold the password in any part, so its text is not here.
#[derive(Debug, thiserror::Error)]
#[error("`database.url` is not a PostgreSQL URL")]
pub struct InvalidUrl;

/// The database.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`.
    pub url: Secret,
    /// The schema with the service's own tables, or with views that stand for them. Left empty it is the
    /// service's usual one.
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
    /// How often the database, and whatever else the service stands on, is asked whether it is there.
    pub probe_interval: HumanDuration,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            schema: String::new(),
            migrate: true,
            max_connections: 16,
            acquire_timeout: HumanDuration::from_secs(5),
            statement_timeout: HumanDuration::from_secs(10),
            probe_interval: HumanDuration::from_secs(2),
        }
    }
}

impl DatabaseConfig {
    /// The schema to use in a service whose usual one is this.
    #[must_use]
    pub fn schema_or<'a>(&'a self, usual: &'a str) -> &'a str {
        if self.schema.is_empty() { usual } else { &self.schema }
    }

    /// Connections that are made when they are first used, so that a service starts before its database.
    ///
    /// # Errors
    /// When the URL is not one.
    pub fn connect(&self, application: &str, usual_schema: &str) -> Result<PgPool, InvalidUrl> {
        let options = PgConnectOptions::from_str(self.url.expose())
            .map_err(|_| InvalidUrl)?
            .application_name(application)
            .options([("search_path", self.schema_or(usual_schema)), ("timezone", "UTC")])
            .options([("statement_timeout", self.statement_timeout.get().as_millis().to_string())])
            .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(1));
        Ok(PgPoolOptions::new()
            .max_connections(self.max_connections)
            .acquire_timeout(self.acquire_timeout.get())
            // Asking before each statement would cost a round trip every time; a connection that has
            // rested is asked, because the database may have restarted meanwhile.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > RESTED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options))
    }

    /// Makes the schema where there is none yet.
    ///
    /// # Errors
    /// When the database is away or refuses.
    pub async fn make_schema(&self, pool: &PgPool, usual_schema: &str) -> Result<(), sqlx::Error> {
        // `validate` lets only plain lower-case identifiers pass.
        let statement = format!("CREATE SCHEMA IF NOT EXISTS \"{}\"", self.schema_or(usual_schema));
        sqlx::query(AssertSqlSafe(statement)).execute(pool).await.map(drop)
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
        if !self.schema.is_empty() && (!starts_well || !goes_on_well || self.schema.len() > 63) {
            report.problem(
                "schema",
                "it is not a plain lower-case identifier of at most 63 letters, digits and underscores",
                "write a name such as \"lambda_service\"",
            );
        }
        report.at_least_one("max_connections", u64::from(self.max_connections));
        for (key, duration) in [
            ("acquire_timeout", self.acquire_timeout),
            ("statement_timeout", self.statement_timeout),
            ("probe_interval", self.probe_interval),
        ] {
            report.longer_than_zero(key, duration);
        }
    }
}
