//! The database: the only place with SQL.
//!
//! The same statements work on the service's own tables and on views over another schema, which is
//! how the service shares the monolith's database. A view with `INSTEAD OF` triggers knows no
//! `ON CONFLICT`, so a taken name is told by the unique violation, and a batch skips the rows that
//! are there by asking first. Every name is found through the `search_path` of the connection.

mod functions;
mod invocations;

use std::{str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions, Connection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::config::DatabaseConfig;

/// After this long without use, a connection is asked whether it still works.
const RESTED: Duration = Duration::from_secs(1);

const UNIQUE_VIOLATION: &str = "23505";
const SERIALIZATION_FAILURE: &str = "40001";
const FOREIGN_KEY_VIOLATION: &str = "23503";

/// Why the database did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away or overloaded, or a relation is not there yet: the same may work later.
    #[error("the database cannot be used now")]
    Unavailable(#[source] sqlx::Error),
    /// A function of that name exists.
    #[error("the name `{0}` is taken")]
    NameTaken(String),
    /// A row holds what the service cannot read.
    #[error("a row cannot be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Anything else.
    #[error("the database refused")]
    Refused(#[source] sqlx::Error),
}

impl StoreError {
    fn from_sqlx(error: sqlx::Error) -> Self {
        if is_transient(&error) { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}

/// Whether the same statement may work later.
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // 08 connection, 25 read-only, 40 serialisation and deadlock, 53 resources, 57 shutdown,
        // 58 system; 3D database and 42P01 relation not there yet, 3F schema not there yet.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "25", "40", "53", "57", "58", "3D", "3F"].iter().any(|class| code.starts_with(class))
                || code == "42P01"
        }),
        _ => false,
    }
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|found| found == code)
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// A store that connects when it is first used.
    ///
    /// # Errors
    /// When the URL is not one.
    pub fn new(config: &DatabaseConfig) -> Result<Self, StoreError> {
        // A URL that does not parse may hold the password in any part: its text stays out.
        let options = PgConnectOptions::from_str(config.url.expose())
            .map_err(|_| {
                StoreError::Refused(sqlx::Error::Configuration("`database.url` is not a PostgreSQL URL".into()))
            })?
            .application_name("lambda-service")
            .options([("search_path", config.schema.as_str()), ("timezone", "UTC")])
            .options([("statement_timeout", config.statement_timeout.get().as_millis().to_string())])
            .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(1));
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.acquire_timeout.get())
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
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// Makes the schema and the tables, in the service's own database.
    ///
    /// # Errors
    /// When the database is away or refuses.
    pub async fn migrate(&self, schema: &str) -> Result<(), sqlx::migrate::MigrateError> {
        // `DatabaseConfig::validate` lets only plain lower-case identifiers pass.
        let statement = format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\"");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&self.pool).await?;
        sqlx::migrate!().run(&self.pool).await
    }

    /// Whether both relations are there and can be read.
    ///
    /// # Errors
    /// When they cannot.
    pub async fn probe(&self) -> Result<(), StoreError> {
        sqlx::query(
            "SELECT (SELECT count(*) FROM (SELECT id FROM functions LIMIT 1) AS f) \
             + (SELECT count(*) FROM (SELECT id FROM invocations LIMIT 1) AS i) AS seen",
        )
        .fetch_one(&self.pool)
        .await
        .and_then(|row| row.try_get::<i64, _>("seen"))
        .map(|_| ())
        .map_err(StoreError::from_sqlx)
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
