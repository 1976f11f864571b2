//! The database: the only place with SQL.
//!
//! The same statements work on the service's own tables and on views over another schema, which is
//! how the service shares the monolith's database. A view with `INSTEAD OF` triggers knows no
//! `ON CONFLICT`, so a taken name is told by the unique violation, and a batch skips the rows that
//! are there by asking first. Every name is found through the `search_path` of the connection.

mod beside_views;
mod controls;
mod cron_jobs;
mod dead_letters;
mod event_ends;
mod event_queue;
mod functions;
mod invocations;
mod registrations;
mod webhooks;

use std::borrow::Cow;

pub use controls::Control;
pub use cron_jobs::{DueTrigger, Fired, Firing, NewTrigger, TriggerChange};
use database::{
    DatabaseConfig, FOREIGN_KEY_VIOLATION, SERIALIZATION_FAILURE, UNIQUE_VIOLATION, has_code, is_transient,
};
pub use dead_letters::{BuriedEvent, Retried};
pub use event_ends::{Ended, EventEnd, NewDeadLetter};
pub use event_queue::{QueueDepth, RawEvent, Taken};
pub use registrations::{Registered, Registration};
use sqlx::{PgPool, Row};
pub use webhooks::NewWebhook;

/// The schema where the settings name none.
const USUAL_SCHEMA: &str = "lambda_service";

/// Why the database did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away or overloaded, or a relation is not there yet: the same may work later.
    #[error("the database cannot be used now")]
    Unavailable(#[source] sqlx::Error),
    /// A function of that name exists.
    #[error("the name `{0}` is taken")]
    NameTaken(String),
    /// A value that must be unique is taken.
    #[error("the value is taken")]
    Taken,
    /// The row's function does not exist.
    #[error("there is no such function")]
    NoSuchFunction,
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

    /// Of an insert of what belongs to a function.
    fn of_insert(error: sqlx::Error) -> Self {
        if has_code(&error, UNIQUE_VIOLATION) {
            Self::Taken
        } else if has_code(&error, FOREIGN_KEY_VIOLATION) {
            Self::NoSuchFunction
        } else {
            Self::from_sqlx(error)
        }
    }
}

/// How a list is cut: `limit` rows after the first `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// How many rows.
    pub limit: i64,
    /// After how many.
    pub offset: i64,
}

/// Runs a statement again that met somebody else's change of its row, which a view tells, and a table does not.
async fn again<T, F>(mut statement: impl FnMut() -> F) -> sqlx::Result<T>
where
    F: Future<Output = sqlx::Result<T>>,
{
    const ATTEMPTS: u8 = 5;
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        match statement().await {
            Err(error) if attempts > 0 && has_code(&error, SERIALIZATION_FAILURE) => {}
            done => return done,
        }
    }
}

/// PostgreSQL's text cannot hold NUL, which what a function says may.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
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
        let pool = config
            .connect("lambda-service", USUAL_SCHEMA)
            .map_err(|error| StoreError::Refused(sqlx::Error::Configuration(error.into())))?;
        Ok(Self { pool })
    }

    /// Makes the schema and the tables, in the service's own database.
    ///
    /// # Errors
    /// When the database is away or refuses.
    pub async fn migrate(&self, config: &DatabaseConfig) -> Result<(), sqlx::migrate::MigrateError> {
        config.make_schema(&self.pool, USUAL_SCHEMA).await?;
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
