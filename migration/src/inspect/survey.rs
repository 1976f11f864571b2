//! What there is in a schema, and what a sample of its rows holds.

use std::collections::BTreeMap;

use serde::Deserialize;
use sqlx::{AssertSqlSafe, PgConnection, Row as _, types::Json};

use crate::{
    base::{BaseColumn, BaseSchema, BaseTable},
    identifier::{QualifiedName, literal},
    projection::legal,
};

/// What a UUID looks like as text, in the form that PostgreSQL prints.
const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

/// One table as it is found.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct SurveyedTable {
    /// Estimated by the last ANALYZE.
    pub(crate) rows: i64,
    pub(crate) bytes: i64,
    pub(crate) pages: i64,
    /// `d` the primary key, `i` an index, `f` the whole row, `n` nothing.
    pub(crate) replica_identity: String,
    pub(crate) unlogged: bool,
    pub(crate) row_security: bool,
    /// Whether other tables inherit from it, without being partitions.
    pub(crate) inherited: bool,
    pub(crate) owner: String,
    pub(crate) readable: bool,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) rules: Vec<String>,
    #[serde(skip)]
    pub(crate) base: BaseTable,
    /// Of columns that could be of a better type, by their name.
    #[serde(skip)]
    pub(crate) samples: BTreeMap<String, Sample>,
}

/// A trigger of a table.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Trigger {
    pub(crate) name: String,
    /// `O` as usual, `A` always, `R` on a replica only, `D` not at all.
    pub(crate) enabled: String,
    pub(crate) definition: String,
}

/// What the values of a column of text are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Values that are not null.
    pub(crate) values: i64,
    /// How many of them are UUIDs.
    pub(crate) uuids: i64,
}

impl Sample {
    pub(crate) const fn is_uuid(&self) -> bool {
        self.values > 0 && self.values == self.uuids
    }
}

/// A database and one schema of it.
#[derive(Debug, Clone)]
pub(crate) struct Survey {
    pub(crate) database: String,
    pub(crate) version: String,
    /// The server's, which says nothing about what `timestamp` columns hold.
    pub(crate) time_zone: String,
    pub(crate) schema: String,
    pub(crate) tables: BTreeMap<String, SurveyedTable>,
}

/// The tables of a schema, without a look at their rows.
pub(crate) async fn tables(
    connection: &mut PgConnection,
    schema: &str,
) -> sqlx::Result<BTreeMap<String, SurveyedTable>> {
    let found: Vec<(String, Json<SurveyedTable>)> =
        sqlx::query_as(include_str!("survey.sql")).bind(schema).fetch_all(&mut *connection).await?;
    let names: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();
    let mut bases = BaseSchema::read(connection, schema, &names).await?.tables;
    let with_base = |(name, Json(mut table)): (String, Json<SurveyedTable>)| {
        table.base = bases.remove(&name).unwrap_or_default();
        (name, table)
    };
    Ok(found.into_iter().map(with_base).collect())
}

impl Survey {
    /// Reads the catalog, and about `rows` rows of each table.
    pub(crate) async fn take(connection: &mut PgConnection, schema: &str, rows: u32) -> sqlx::Result<Self> {
        let (database, version, time_zone) = sqlx::query_as(
            "select current_database()::text, current_setting('server_version'), current_setting('TimeZone')",
        )
        .fetch_one(&mut *connection)
        .await?;
        let mut tables = tables(connection, schema).await?;
        for (name, table) in &mut tables {
            if table.readable {
                let name = QualifiedName::new(&legal(schema), &legal(name));
                table.samples = sample(connection, &name, table, rows).await?;
            }
        }
        Ok(Self { database, version, time_zone, schema: schema.to_owned(), tables })
    }
}

/// Columns whose values could be UUIDs.
fn textual(base: &BaseTable) -> impl Iterator<Item = &BaseColumn> {
    base.columns.iter().filter(|column| matches!(column.bare_type.as_str(), "text" | "character varying"))
}

async fn sample(
    connection: &mut PgConnection,
    name: &QualifiedName,
    table: &SurveyedTable,
    rows: u32,
) -> sqlx::Result<BTreeMap<String, Sample>> {
    let columns: Vec<&BaseColumn> = textual(&table.base).collect();
    if columns.is_empty() {
        return Ok(BTreeMap::new());
    }
    let counts = columns.iter().map(|column| {
        let column = legal(&column.name).quoted();
        format!("count({column}), count(*) FILTER (WHERE {column} ~ {})", literal(UUID))
    });
    let names: Vec<String> = columns.iter().map(|column| legal(&column.name).quoted()).collect();
    let sql = format!(
        "SELECT {} FROM (SELECT {} FROM {}{} LIMIT {rows}) AS sampled",
        counts.collect::<Vec<_>>().join(", "),
        names.join(", "),
        name.quoted(),
        sampling(table, rows)
    );
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(connection).await?;
    let mut samples = BTreeMap::new();
    for (place, column) in columns.iter().enumerate() {
        let sample = Sample { values: row.try_get(2 * place)?, uuids: row.try_get(2 * place + 1)? };
        samples.insert(column.name.clone(), sample);
    }
    Ok(samples)
}

/// From pages all over the table, where it is large enough that its first rows are not typical.
#[expect(clippy::cast_precision_loss, reason = "a share of pages needs no more digits")]
pub(crate) fn sampling(table: &SurveyedTable, rows: u32) -> String {
    let rows_of_page = (table.rows as f64 / table.pages.max(1) as f64).max(1.0);
    // Twice as many pages as the rows need: pages are not equally full.
    let percent = 200.0 * f64::from(rows) / rows_of_page / table.pages.max(1) as f64;
    if percent >= 50.0 { String::new() } else { format!(" TABLESAMPLE SYSTEM ({percent:.4})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_tables_are_sampled() {
        let table = |rows, pages| SurveyedTable { rows, pages, ..SurveyedTable::default() };
        assert_eq!(sampling(&table(1_000, 20), 1_000), "");
        assert_eq!(sampling(&table(1_000_000, 20_000), 1_000), " TABLESAMPLE SYSTEM (0.2000)");
        assert_eq!(sampling(&table(0, 0), 1_000), "");
    }
}
