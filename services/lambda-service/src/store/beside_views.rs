//! The service's own tables where the migrations do not make them: beside the views of the shared data stage.

use super::{Store, StoreError};

/// A migration that makes them, and the last table that it makes. Each is written so that it does nothing where
/// they are.
const MIGRATIONS: [(&str, &str); 2] = [
    (include_str!("../../migrations/0002_build_registrations.sql"), "build_registrations"),
    (include_str!("../../migrations/0004_event_queue.sql"), "event_bindings"),
];

impl Store {
    /// Makes what is missing. A role that may not create tables is content when somebody else has made them.
    ///
    /// # Errors
    /// When the database is away or refuses.
    pub async fn make_tables_beside_views(&self) -> Result<(), StoreError> {
        for (statements, last_table) in MIGRATIONS {
            let is_there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
                .bind(last_table)
                .fetch_one(&self.pool)
                .await
                .map_err(StoreError::from_sqlx)?;
            if !is_there {
                sqlx::raw_sql(statements).execute(&self.pool).await.map_err(StoreError::from_sqlx)?;
            }
        }
        Ok(())
    }
}
