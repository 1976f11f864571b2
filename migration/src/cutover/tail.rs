//! The newest rows once more, while nobody writes: what the stream brought last is what nobody has compared.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::{
    projection::BASE,
    slice::{SlicePlan, TablePlan, TargetColumn, session_settings},
};

type Rows = BTreeMap<String, Option<String>>;

/// A session of each database, made before anybody waits.
pub(super) struct Sessions {
    monolith: PgConnection,
    candidate: PgConnection,
}

impl Sessions {
    pub(super) async fn open(monolith: &PgPool, candidate: &PgPool, plan: &SlicePlan) -> sqlx::Result<Self> {
        let (mut monolith, mut candidate) = (monolith.acquire().await?.detach(), candidate.acquire().await?.detach());
        sqlx::raw_sql(AssertSqlSafe(session_settings(&plan.source_schema))).execute(&mut monolith).await?;
        sqlx::raw_sql(AssertSqlSafe(session_settings(&plan.target_schema))).execute(&mut candidate).await?;
        Ok(Self { monolith, candidate })
    }
}

/// Compares the newest rows of each table, by key and value, on both sides; names those that differ. A table
/// without a key has no newest rows, and is left to the comparison before.
pub(super) async fn compare(sessions: &mut Sessions, plan: &SlicePlan, rows: u32) -> sqlx::Result<Vec<String>> {
    let Sessions { monolith, candidate } = sessions;
    let mut differing = Vec::new();
    for table in plan.tables.iter().filter(|table| rows > 0 && !table.identity.is_empty()) {
        let there = newest(monolith, &of_monolith(table), rows).await?;
        let here = newest(candidate, &of_candidate(table), rows).await?;
        // The newest of one side may be in another order than those of the other, which sorts by other types.
        let only = |these: &Rows, those: &Rows| -> Vec<String> {
            these.keys().filter(|key| !those.contains_key(*key)).cloned().collect()
        };
        let more_here = with_keys(candidate, &of_candidate(table), &only(&there, &here)).await?;
        let more_there = with_keys(monolith, &of_monolith(table), &only(&here, &there)).await?;
        let value = |first: &Rows, more: &Rows, key: &String| first.get(key).or_else(|| more.get(key)).cloned();
        let keys: std::collections::BTreeSet<&String> = there.keys().chain(here.keys()).collect();
        for key in keys {
            if value(&there, &more_there, key) != value(&here, &more_here, key) {
                differing.push(format!("{} {key}", table.target));
            }
        }
    }
    Ok(differing)
}

/// Rows as key and digest of their values, with what they are sorted by.
struct Shape {
    rows: String,
    newest: String,
}

fn of_monolith(table: &TablePlan) -> Shape {
    let filter = table.filter.as_ref().map(|filter| format!(" WHERE ({filter})")).unwrap_or_default();
    let from = format!("{} AS {BASE}{filter}", table.source.quoted());
    let key = table.identity.iter().map(|key| format!("{BASE}.{} DESC", key.source.quoted()));
    shape(table, |column| column.select.clone(), &from, &key.collect::<Vec<_>>())
}

fn of_candidate(table: &TablePlan) -> Shape {
    let key = table.identity.iter().map(|key| format!("{} DESC", key.target.quoted()));
    shape(table, |column| column.name.quoted(), &table.target.quoted(), &key.collect::<Vec<_>>())
}

fn shape(table: &TablePlan, value: impl Fn(&TargetColumn) -> String, from: &str, newest: &[String]) -> Shape {
    let texts = |columns: Vec<&TargetColumn>| {
        columns.iter().map(|column| format!("({})::text", value(column))).collect::<Vec<_>>().join(", ")
    };
    let key = texts(table.identity.iter().filter_map(|key| table.column(&key.target)).collect());
    let values = texts(table.columns.iter().filter(|column| column.written).collect());
    Shape {
        rows: format!(
            "SELECT (ARRAY[{key}]::text[])::text AS row_key, md5((ARRAY[{values}]::text[])::text) AS row_digest FROM {from}"
        ),
        newest: format!(" ORDER BY {}", newest.join(", ")),
    }
}

async fn newest(connection: &mut PgConnection, shape: &Shape, rows: u32) -> sqlx::Result<Rows> {
    let sql = format!("{}{} LIMIT {rows}", shape.rows, shape.newest);
    let found: Vec<(String, Option<String>)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await?;
    Ok(found.into_iter().collect())
}

async fn with_keys(connection: &mut PgConnection, shape: &Shape, keys: &[String]) -> sqlx::Result<Rows> {
    if keys.is_empty() {
        return Ok(Rows::new());
    }
    let sql = format!("SELECT row_key, row_digest FROM ({}) AS all_rows WHERE row_key = ANY ($1)", shape.rows);
    let found: Vec<(String, Option<String>)> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(keys).fetch_all(connection).await?;
    Ok(found.into_iter().collect())
}
