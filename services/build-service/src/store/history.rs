//! `build_status`: what became of a build, row by row, and who is to be told.

use chrono::{DateTime, Utc};
use domain::{BuildState, JobId};
use sqlx::{PgConnection, postgres::PgRow};

use super::{
    CLIENT, Store, StoreError,
    rows::{get, parsed},
};

/// One transition of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusItem {
    /// Which one of this build, from 1.
    pub sequence: i32,
    /// What the build became.
    pub state: BuildState,
    /// How often a worker had taken it.
    pub attempt: i32,
    /// What there is to say about it.
    pub message: Option<String>,
    /// When it happened.
    pub at: DateTime<Utc>,
}

impl Store {
    /// The history of a build, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn history(&self, id: JobId) -> Result<Vec<StatusItem>, StoreError> {
        let rows =
            sqlx::query("SELECT sequence, state, attempt, message, at FROM build_status WHERE job_id = $1 ORDER BY 1")
                .bind(id.as_uuid())
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(status_item).collect()
    }

    /// Writes down the state that a job was just brought into, and a message to each receiver. In the
    /// transaction that brought it there.
    pub(super) async fn record(
        &self,
        connection: &mut PgConnection,
        id: JobId,
        message: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO build_status (job_id, sequence, state, attempt, message) \
             SELECT id, sequence, state, attempt, $2 FROM build_jobs WHERE id = $1",
        )
        .bind(id.as_uuid())
        .bind(message)
        .execute(&mut *connection)
        .await?;
        sqlx::query(
            "INSERT INTO webhook_deliveries (job_id, sequence, receiver) \
             SELECT j.id, j.sequence, r.name FROM build_jobs j, \
             LATERAL (SELECT unnest($2::text[]) UNION ALL SELECT $3 WHERE j.webhook_url IS NOT NULL) AS r (name) \
             WHERE j.id = $1",
        )
        .bind(id.as_uuid())
        .bind(&self.receivers[..])
        .bind(CLIENT)
        .execute(&mut *connection)
        .await?;
        Ok(())
    }
}

fn status_item(row: &PgRow) -> Result<StatusItem, StoreError> {
    Ok(StatusItem {
        sequence: get(row, "sequence")?,
        state: parsed(row, "state")?,
        attempt: get(row, "attempt")?,
        message: get(row, "message")?,
        at: get(row, "at")?,
    })
}
