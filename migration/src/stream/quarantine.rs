//! What an operator sees of the quarantine, and asks about it. A running stream does what is asked
//! within a second; one that is started later does it then.

use serde::Serialize;
use sqlx::PgPool;

use super::{Direction, StreamError, ledger::is_there};

/// A change in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Quarantined {
    /// Names it.
    pub id: i64,
    /// The slice.
    pub slice: String,
    /// `forward` or `reverse`.
    pub direction: String,
    /// The table that it was to be written to, as SQL.
    pub table_name: String,
    /// The values that tell the row apart where it comes from.
    pub row_key: Vec<Option<String>>,
    /// Where its transaction committed.
    pub lsn: String,
    /// `insert`, `update`, `delete` or `truncate`.
    pub kind: String,
    /// The row as it came, as JSON; none when it was too large to keep.
    pub image: Option<String>,
    /// Why the database refused it; none for one that waits behind another.
    pub sqlstate: Option<String>,
    /// The same in words.
    pub reason: Option<String>,
    /// How often it was refused.
    pub attempts: i32,
    /// What has been asked, and is not done yet.
    pub asked: Option<String>,
}

/// What can be asked about a change in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Write it again, and what waits behind it.
    Retry,
    /// Leave it out, and write what waits behind it. The row then differs until somebody mends it.
    Skip,
}

/// The changes in quarantine of a database, the oldest first, at most `limit`.
///
/// # Errors
/// The database cannot be read.
pub async fn quarantined(
    to: &PgPool,
    slice: &str,
    direction: Option<Direction>,
    limit: u32,
) -> Result<Vec<Quarantined>, StreamError> {
    let work = async {
        if !is_there(to).await? {
            return Ok(Vec::new());
        }
        sqlx::query_as(
            "select id, slice, direction, table_name, row_key, lsn::text, kind, image::text, sqlstate, reason, attempts, asked \
             from strangler.quarantine where slice = $1 and direction = coalesce($2, direction) order by id limit $3",
        )
        .bind(slice)
        .bind(direction.map(Direction::as_str))
        .bind(i64::from(limit))
        .fetch_all(to)
        .await
    };
    work.await.map_err(StreamError::database("read the quarantine"))
}

/// Asks about one change, or about every one of the slice that was refused. Answers how many that are.
///
/// # Errors
/// The database cannot be written.
pub async fn ask(to: &PgPool, slice: &str, id: Option<i64>, ask: Ask) -> Result<u64, StreamError> {
    let work = async {
        if !is_there(to).await? {
            return Ok(0);
        }
        let word = match ask {
            Ask::Retry => "retry",
            Ask::Skip => "skip",
        };
        let asked = sqlx::query(
            "update strangler.quarantine set asked = $3 where slice = $1 and (id = $2 or ($2 is null and sqlstate is not null))",
        )
        .bind(slice)
        .bind(id)
        .bind(word)
        .execute(to)
        .await?;
        Ok(asked.rows_affected())
    };
    work.await.map_err(StreamError::database("write the quarantine"))
}
