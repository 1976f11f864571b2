//! Where leases are: a small file beside the document, or a table.

use std::collections::BTreeMap;

use judgement::Renewal;
use sqlx::{PgExecutor, Row as _};

use super::{DocumentFile, FileError};

type Leases = BTreeMap<String, Renewal>;

/// All leases in this file. One that cannot be read holds none, which is the safe way to read it.
pub(super) fn read(file: &DocumentFile) -> Result<Leases, FileError> {
    Ok(file.read()?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

pub(super) fn write(file: &DocumentFile, leases: &Leases) -> Result<(), FileError> {
    file.write(&serde_json::to_string(leases).expect("names and numbers"))
}

pub(super) async fn find(executor: impl PgExecutor<'_>, route: &str) -> sqlx::Result<Option<Renewal>> {
    let row = sqlx::query("SELECT holder, number FROM ramp_leases WHERE route = $1")
        .bind(route)
        .fetch_optional(executor)
        .await?;
    row.map(|row| {
        let number = |column| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
        Ok(Renewal { holder: number("holder")?, number: number("number")? })
    })
    .transpose()
}

pub(super) async fn replace(
    executor: impl PgExecutor<'_>,
    route: &str,
    before: Option<Renewal>,
    next: Renewal,
) -> sqlx::Result<bool> {
    let signed = |number: u64| number.cast_signed();
    let query = match before {
        None => {
            sqlx::query("INSERT INTO ramp_leases (route, holder, number) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(route)
                .bind(signed(next.holder))
                .bind(signed(next.number))
        }
        Some(before) => sqlx::query(
            "UPDATE ramp_leases SET holder = $2, number = $3, renewed_at = clock_timestamp() \
             WHERE route = $1 AND holder = $4 AND number = $5",
        )
        .bind(route)
        .bind(signed(next.holder))
        .bind(signed(next.number))
        .bind(signed(before.holder))
        .bind(signed(before.number)),
    };
    Ok(query.execute(executor).await?.rows_affected() == 1)
}

pub(super) async fn delete(executor: impl PgExecutor<'_>, route: &str) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM ramp_leases WHERE route = $1").bind(route).execute(executor).await.map(drop)
}
