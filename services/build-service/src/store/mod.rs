//! The database: the only place with SQL.
//!
//! Each transition of a build is one transaction: the job's row, the row of its history, the messages to
//! its receivers and, where a broker is used, the row of the outbox. So nothing is told that did not
//! happen, and nothing happens untold.

mod creations;
mod deliveries;
mod history;
mod jobs;
mod leases;
mod outbox;
mod rows;

use std::sync::Arc;

use database::{DatabaseConfig, is_transient};
use sqlx::{PgPool, Row};

pub use creations::Begun;
pub use deliveries::{DeliveryAttempt, DeliveryItem, DueDelivery, Outcome};
pub use history::StatusItem;
pub use jobs::{Accepted, Cancelled, Filter, PackageItem, Page, Retried};
pub use leases::StillHeld;
pub use outbox::QueueState;

/// The schema where the settings name none.
const USUAL_SCHEMA: &str = "build_service";

/// The receiver that is a job's own client. No configured receiver may have this name.
pub const CLIENT: &str = "client";

/// The channel on which a new job is announced to workers that wait for one.
pub const WAKE_CHANNEL: &str = "build_jobs";

/// Why the database did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away or overloaded, or a relation is not there yet: the same may work later.
    #[error("the database cannot be used now")]
    Unavailable(#[source] sqlx::Error),
    /// A row holds what the service cannot read.
    #[error("a row cannot be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Anything else.
    #[error("the database refused")]
    Refused(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_transient(&error) { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}

/// The database; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    /// Whether jobs are announced to a broker, through the outbox.
    has_broker: bool,
    /// The configured receivers of every transition.
    receivers: Arc<[String]>,
}

impl Store {
    /// A store that connects when it is first used.
    ///
    /// # Errors
    /// When the URL is not one.
    pub fn new(config: &DatabaseConfig, has_broker: bool, receivers: Vec<String>) -> Result<Self, StoreError> {
        let pool = config
            .connect("build-service", USUAL_SCHEMA)
            .map_err(|error| StoreError::Refused(sqlx::Error::Configuration(error.into())))?;
        Ok(Self { pool, has_broker, receivers: receivers.into() })
    }

    /// Makes the schema and the tables.
    ///
    /// # Errors
    /// When the database is away or refuses.
    pub async fn migrate(&self, config: &DatabaseConfig) -> Result<(), sqlx::migrate::MigrateError> {
        config.make_schema(&self.pool, USUAL_SCHEMA).await?;
        sqlx::migrate!().run(&self.pool).await
    }

    /// Whether the tables are there and can be read.
    ///
    /// # Errors
    /// When they cannot.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let row = sqlx::query("SELECT EXISTS (SELECT FROM webhook_attempts) AND EXISTS (SELECT FROM build_jobs)");
        let row = row.fetch_one(&self.pool).await?;
        row.try_get::<bool, _>(0).map(drop).map_err(StoreError::from)
    }

    /// A connection of its own that hears of new jobs.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn listen(&self) -> Result<sqlx::postgres::PgListener, StoreError> {
        let mut listener = sqlx::postgres::PgListener::connect_with(&self.pool).await?;
        listener.listen(WAKE_CHANNEL).await?;
        Ok(listener)
    }
}
