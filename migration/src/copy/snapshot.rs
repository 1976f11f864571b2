//! Points of the source that several connections can read at.

use sqlx::{Connection, PgConnection, PgPool};

use super::CopyError;

/// A point of the source that several connections can read at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What `pg_export_snapshot` or the creation of a slot answered. Its session must stay until
    /// the copy has ended.
    pub id: String,
    /// A position in the WAL at or after the point, such as `0/16B3748`.
    pub lsn: String,
}

/// What a server says of a snapshot whose session has ended: until PostgreSQL 16, and since then.
const NO_SUCH_SNAPSHOT: [&str; 2] = ["22023", "42704"];

impl Snapshot {
    /// What a refusal to read at it means, by its SQLSTATE; none for one with another cause.
    pub(super) fn gone(&self, code: Option<&str>) -> Option<CopyError> {
        let gone = code.is_some_and(|code| NO_SUCH_SNAPSHOT.contains(&code));
        gone.then(|| CopyError::SnapshotGone { id: self.id.clone() })
    }
}

/// A snapshot that is there for as long as its session is.
#[derive(Debug)]
pub struct ExportedSnapshot {
    snapshot: Snapshot,
    session: PgConnection,
}

impl ExportedSnapshot {
    /// Takes the source as it is now.
    pub async fn take(source: &PgPool) -> Result<Self, CopyError> {
        let work = async {
            let mut session = source.acquire().await?.detach();
            // The session rests for as long as the copy takes.
            sqlx::raw_sql(
                "SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            )
            .execute(&mut session)
            .await?;
            // A commit that the snapshot does not have may be before the position, never the reverse:
            // where the log was written to would be too early, as commits may be visible before that.
            let (id, lsn) = sqlx::query_as("select pg_export_snapshot(), pg_current_wal_insert_lsn()::text")
                .fetch_one(&mut session)
                .await?;
            Ok(Self { snapshot: Snapshot { id, lsn }, session })
        };
        work.await.map_err(CopyError::database("take a snapshot of the source"))
    }

    /// What readers are told.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Gives it up.
    pub async fn release(self) -> Result<(), CopyError> {
        self.session.close().await.map_err(CopyError::database("give the snapshot up"))
    }
}
