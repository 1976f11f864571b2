//! The store of many machines: a table in PostgreSQL that every gateway appends to and follows.
//!
//! The primary key decides between two gateways that append the same revision, the foreign key keeps
//! the chain whole, and triggers refuse whatever is no append (`migrations/`). On this machine a copy
//! of the document and the last good state stay, for a start while PostgreSQL is away.

use std::{path::PathBuf, str::FromStr as _, time::Duration};

use judgement::Renewal;
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection,
    migrate::{MigrateError, Migrator},
    postgres::PgConnectOptions,
};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use super::{DocumentFile, FileError, HistoryQuery, LastGood, Look, Pending, Store, StoreError, leases, rows};
use crate::{
    config::PostgresConfig,
    control::chain::{Break, Fault, Head, LogEntry, Revision, sha256},
};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// See the module.
pub(in crate::control) struct PostgresStore {
    config: PostgresConfig,
    copy: DocumentFile,
    last_good: DocumentFile,
    /// SHA-256 of the copy as it was last written.
    copied: String,
    /// Connections belong to the runtime they were made in, and changes come from the threads of
    /// several. This one runs while a call waits for the database, and at no other time.
    runtime: Option<Runtime>,
    connection: Option<PgConnection>,
    migrated: bool,
}

impl PostgresStore {
    /// The store in this database; nothing is connected yet.
    pub(in crate::control) fn new(config: PostgresConfig, copy: PathBuf) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            config,
            last_good: DocumentFile::new(copy.with_extension("state.json")),
            copy: DocumentFile::new(copy),
            copied: String::new(),
            runtime: Some(runtime),
            connection: None,
            migrated: false,
        })
    }

    /// The state this machine would start from without the store.
    pub(in crate::control) fn last_good(&mut self) -> Result<LastGood, FileError> {
        let last_good = LastGood::read(&self.last_good)?.unwrap_or_default();
        // It was noted before that revision's copy was written; the copy itself tells whether it was.
        self.copied = match self.copy.read() {
            Ok(Some(text)) if text == last_good.head.document => sha256(text.as_bytes()),
            _ => last_good.copied.clone(),
        };
        Ok(last_good)
    }

    /// Does something over the connection, which is made if need be. A connection that turns out to
    /// have died while it rested is replaced once, before anything can have been changed over it.
    fn run<T>(
        &mut self,
        act: &impl AsyncFn(&mut PgConnection, Duration) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Self { config, runtime, connection, migrated, .. } = self;
        let runtime = runtime.as_ref().expect("it is taken on drop only");
        runtime.block_on(async {
            loop {
                let rested = connection.is_some();
                let mut used = match connection.take() {
                    Some(rested) => rested,
                    None => connect(config, migrated).await?,
                };
                match act(&mut used, config.timeout.get()).await {
                    Err(StoreError::Away(sqlx::Error::Io(error)))
                        if rested && error.kind() != std::io::ErrorKind::TimedOut => {}
                    // Dropped: it may be in the middle of a transaction.
                    Err(error @ (StoreError::Away(_) | StoreError::Unknown(_))) => return Err(error),
                    result => {
                        *connection = Some(used);
                        return result;
                    }
                }
            }
        })
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        // Waiting for a runtime's end is not allowed on another runtime's threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Store for PostgresStore {
    fn document_file(&self) -> &DocumentFile {
        &self.copy
    }

    fn follows_file(&self) -> bool {
        false
    }

    fn since(&mut self, revision: u64) -> Result<Vec<Revision>, StoreError> {
        self.run(&async |connection, limit| within(limit, rows::from(connection, revision + 1)).await)
    }

    fn look(&mut self, _revision: u64) -> Result<Look, StoreError> {
        // The follower hears of revisions; nobody else may write the copy.
        Ok(Look { newer: Vec::new(), text: self.copy.read()? })
    }

    fn append(&mut self, next: &Revision) -> Result<(), StoreError> {
        self.run(&async |connection, limit| {
            let inserting = async {
                let mut transaction = connection.begin().await?;
                rows::insert(&mut *transaction, next).await?;
                Ok(transaction)
            };
            let transaction = within(limit, inserting).await.map_err(|error| refused(error, next))?;
            // Only from here on the outcome can be unknown.
            within(limit, transaction.commit()).await.map_err(|error| match error {
                StoreError::Away(source) => StoreError::Unknown(source),
                other => other,
            })
        })
    }

    fn find(&mut self, revision: u64) -> Result<Option<Revision>, StoreError> {
        self.run(&async |connection, limit| within(limit, rows::find(connection, revision)).await)
    }

    fn recent(&mut self, query: &HistoryQuery) -> Result<Vec<LogEntry>, StoreError> {
        self.run(&async |connection, limit| within(limit, rows::recent(connection, query)).await)
    }

    fn lease(&mut self, route: &str) -> Result<Option<Renewal>, StoreError> {
        self.run(&async |connection, limit| within(limit, leases::find(connection, route)).await)
    }

    fn renew_lease(&mut self, route: &str, before: Option<Renewal>, next: Renewal) -> Result<bool, StoreError> {
        self.run(&async |connection, limit| within(limit, leases::replace(connection, route, before, next)).await)
    }

    fn drop_lease(&mut self, route: &str) -> Result<(), StoreError> {
        self.run(&async |connection, limit| within(limit, leases::delete(connection, route)).await)
    }

    fn keep_here(&mut self, document: &str, head: &Head, pending: &[Pending]) -> Result<(), FileError> {
        let last_good = LastGood { head: head.clone(), pending: pending.to_vec(), copied: self.copied.clone() };
        last_good.write(&self.last_good)?;
        // Before the first revision there is nothing to copy, and a file may be the one to import.
        if head.revision == 0 {
            return Ok(());
        }
        match self.copy.read()? {
            Some(text) if text == document => {}
            // Somebody has edited it, and may want to keep that.
            Some(text) if sha256(text.as_bytes()) != self.copied => return Ok(()),
            _ => self.copy.write(document)?,
        }
        self.copied = sha256(document.as_bytes());
        Ok(())
    }
}

/// How to reach the store. The address has been checked when the settings were read.
pub(crate) fn options(config: &PostgresConfig) -> Result<PgConnectOptions, StoreError> {
    // What is wrong with an address may quote its password.
    let bad = |_| StoreError::Refused(sqlx::Error::Configuration("`rollout.postgres.url` is no address".into()));
    let timeout_ms = config.timeout.get().as_millis().to_string();
    Ok(PgConnectOptions::from_str(config.url.expose())
        .map_err(bad)?
        .application_name("strangler-gateway")
        .options([("search_path", config.schema.as_str()), ("timezone", "UTC")])
        .options([("statement_timeout", &timeout_ms), ("lock_timeout", &timeout_ms)])
        // What is acknowledged must be on disk there, whatever the server's default is.
        .options([("synchronous_commit", "on"), ("client_min_messages", "warning")])
        .options([("idle_in_transaction_session_timeout", &timeout_ms)])
        .disable_statement_logging())
}

/// The channel on which the table's trigger announces revisions.
pub(in crate::control) fn channel(config: &PostgresConfig) -> String {
    format!("{}_rollout", config.schema)
}

/// The channel on which the fences of slices are announced.
pub(crate) fn fence_channel(config: &PostgresConfig) -> String {
    format!("{}_fences", config.schema)
}

/// Connects, and brings the schema up to date unless that was done.
pub(crate) async fn connect(config: &PostgresConfig, migrated: &mut bool) -> Result<PgConnection, StoreError> {
    let options = options(config)?;
    let mut connection = within(config.connect_timeout.get(), options.connect()).await?;
    if !*migrated {
        let migrating = timeout(config.timeout.get(), migrate(&mut connection, &config.schema)).await;
        migrating.map_err(|_| StoreError::Away(timed_out()))?.map_err(|error| match error {
            MigrateError::Execute(source) => classified(source),
            other => StoreError::Migrate(other),
        })?;
        *migrated = true;
    }
    Ok(connection)
}

async fn migrate(connection: &mut PgConnection, schema: &str) -> Result<(), MigrateError> {
    // Two that make a schema at once disturb each other, even with IF NOT EXISTS. The lock ends with
    // the transaction. Only names that need no quotes pass the check of the settings.
    let statement = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtext('strangler rollout schema')); \
         CREATE SCHEMA IF NOT EXISTS {schema}; COMMIT"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *connection).await?;
    MIGRATIONS.run(connection).await
}

/// Waits for the database so long and no longer.
pub(crate) async fn within<T>(limit: Duration, asking: impl Future<Output = sqlx::Result<T>>) -> Result<T, StoreError> {
    timeout(limit, asking).await.unwrap_or_else(|_| Err(timed_out())).map_err(classified)
}

fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"))
}

/// Whether the database is away or does not want this.
fn classified(error: sqlx::Error) -> StoreError {
    // Class 57 is an operator's doing (shutdown, cancelling), 53 a lack of resources, 08 a lost
    // connection, 25 a transaction that was ended for idling. https://www.postgresql.org/docs/current/errcodes-appendix.html
    let code = error.as_database_error().and_then(|error| error.code()).map(std::borrow::Cow::into_owned);
    match (&error, code.as_deref()) {
        (_, Some("23505")) => StoreError::Conflict,
        (sqlx::Error::Database(_), Some(code))
            if ["57", "53", "08", "25"].iter().any(|class| code.starts_with(class)) =>
        {
            StoreError::Away(error)
        }
        (sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_), _) => StoreError::Away(error),
        (sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed, _) => {
            StoreError::Away(error)
        }
        _ => StoreError::Refused(error),
    }
}

/// What a refused insert means: the foreign key has not found the revision before.
fn refused(error: StoreError, next: &Revision) -> StoreError {
    match error {
        StoreError::Refused(source)
            if source.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation) =>
        {
            StoreError::Diverged(Break { revision: next.entry.revision, fault: Fault::Link })
        }
        other => other,
    }
}
