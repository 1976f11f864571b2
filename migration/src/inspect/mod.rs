//! A first mapping from a live database: what there is, what could move together, what to decide.
//!
//! The draft is valid as it stands, and carries everything over as it is. Suggestions are comments: a
//! type that a sample of the rows would allow, a foreign key that a cut would lose, a trigger that
//! somebody must take over. A person decides.

mod draft;
mod grouping;
pub(crate) mod survey;

use sqlx::{AssertSqlSafe, Connection as _, PgPool};

use self::survey::Survey;
use crate::identifier::{Identifier, search_path};

/// Why a database could not be looked at. No message holds a connection URL.
#[derive(Debug, thiserror::Error)]
#[error("cannot inspect the schema `{schema}`")]
pub struct InspectError {
    /// The schema.
    pub schema: String,
    /// The cause.
    #[source]
    pub source: sqlx::Error,
}

/// A mapping for the tables of one schema, as TOML, from the catalog and about `sampled` rows of each
/// table. Nothing is changed.
pub async fn draft(database: &PgPool, schema: &Identifier, sampled: u32) -> Result<String, InspectError> {
    let work = async {
        let mut connection = database.acquire().await?;
        let mut reading = connection.begin().await?;
        sqlx::query("SET TRANSACTION READ ONLY").execute(&mut *reading).await?;
        let path = format!("SET LOCAL search_path = {}", search_path(schema));
        sqlx::query(AssertSqlSafe(path)).execute(&mut *reading).await?;
        let survey = Survey::take(&mut reading, schema.as_str(), sampled).await?;
        reading.rollback().await?;
        Ok(draft::draft(&survey))
    };
    work.await.map_err(|source| InspectError { schema: schema.as_str().to_owned(), source })
}
