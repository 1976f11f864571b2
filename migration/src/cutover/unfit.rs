//! Rows of the candidate's that the monolith could not hold: found before anything is held, so that a way back
//! is not discovered to be closed when it is needed.
//!
//! Each row is sent to the monolith's database as the reverse stream would send it, and put through the same
//! expressions and into the same types there, by a function that lives as long as its session. Nothing is
//! written. Tried are types with their lengths, `NOT NULL`, domains, enums and `CHECK`; unique indexes are looked
//! at on the candidate's side, where they are over whole columns. Not tried are foreign keys, exclusion
//! constraints, and indexes over expressions or some of the rows: what they refuse waits in quarantine.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::{
    apply::{Flow, TableFlow},
    base::{BaseIndex, BaseSchema},
    identifier::{dollar_quoted, literal},
    slice::{SlicePlan, TablePlan, session_settings},
    stream::Direction,
};

/// So many of a table are named; the rest is not looked for.
const NAMED: usize = 20;

/// Rows are sent together until they are so many, or so many bytes.
const BATCH_ROWS: usize = 1_000;
const BATCH_BYTES: usize = 1 << 20;

/// What a database refuses a row with, by the names that PL/pgSQL has for classes of errors.
const REFUSALS: &str = "data_exception OR integrity_constraint_violation OR syntax_error_or_access_rule_violation";

/// A row that would be refused, or some that would be together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unfit {
    /// The candidate's table.
    pub table: String,
    /// Its key, or the values that are there more than once.
    pub key: String,
    /// What stands against it. Names no values but the key's.
    pub reason: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UnfitRows {
    /// The rows, of each table at most so many.
    pub rows: Vec<Unfit>,
    /// Whether a table has more of them than are named.
    pub more: bool,
    /// What could not be tried.
    pub untried: Vec<String>,
}

/// Looks at every row of the candidate's.
pub(super) async fn find(monolith: &PgPool, candidate: &PgPool, plan: &SlicePlan) -> sqlx::Result<UnfitRows> {
    // Detached: settings and the function end with them.
    let (mut there, mut here) = (monolith.acquire().await?.detach(), candidate.acquire().await?.detach());
    sqlx::raw_sql(AssertSqlSafe(session_settings(&plan.source_schema))).execute(&mut there).await?;
    sqlx::raw_sql(AssertSqlSafe(session_settings(&plan.target_schema))).execute(&mut here).await?;
    let flow = Flow::read(&mut there, plan, Direction::Reverse).await?;
    let mut found = UnfitRows::default();
    for (table, flow) in plan.tables.iter().zip(&flow.tables).filter(|(table, _)| !table.missing) {
        let checks = evaluable(&mut there, table, &mut found).await?;
        sqlx::raw_sql(AssertSqlSafe(function(table, flow, &checks))).execute(&mut there).await?;
        try_rows(&mut there, &mut here, table, flow, &mut found).await?;
        try_indexes(&mut there, &mut here, table, &mut found).await?;
    }
    Ok(found)
}

/// The monolith's checks of a table, by name; those that cannot be evaluated alone are told of.
async fn evaluable(
    there: &mut PgConnection,
    table: &TablePlan,
    found: &mut UnfitRows,
) -> sqlx::Result<BTreeMap<String, String>> {
    let checks: Vec<(String, String)> = sqlx::query_as(
        "select conname::text, pg_get_expr(conbin, conrelid) from pg_constraint where conrelid = $1::regclass and contype = 'c'",
    )
    .bind(table.source.quoted())
    .fetch_all(&mut *there)
    .await?;
    let mut evaluable = BTreeMap::new();
    for (name, check) in checks {
        let attempt = format!("EXPLAIN SELECT {check} FROM {} AS monolith", table.source.quoted());
        match sqlx::raw_sql(AssertSqlSafe(attempt)).execute(&mut *there).await {
            Ok(_) => {
                evaluable.insert(name, check);
            }
            Err(sqlx::Error::Database(refused)) => {
                found.untried.push(format!("check {name} of {}: {}", table.source, refused.message()));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(evaluable)
}

/// A function that takes a row's columns as text, and says why the monolith's table could not hold it. A record
/// of that table's type is given its values as an `INSERT` gives them.
fn function(table: &TablePlan, flow: &TableFlow, checks: &BTreeMap<String, String>) -> String {
    let given = flow.columns.iter().enumerate();
    let given: Vec<String> = given
        .map(|(place, column)| format!("(given[{}])::{} AS {}", place + 1, column.cast, column.name.quoted()))
        .collect();
    let values = flow.assignments.iter().enumerate();
    let values: Vec<String> =
        values.map(|(place, assignment)| format!("{} AS v{place}", assignment.expression)).collect();
    let given = format!("(SELECT {}) AS {}", given.join(", "), flow.alias);
    let (mut body, mut culprits) = (String::new(), String::new());
    for (place, assignment) in flow.assignments.iter().enumerate() {
        let column = table.source_columns.iter().find(|column| column.name == assignment.to);
        let declared = column.map_or("its type", |column| column.declared_type.as_str());
        let (name, fits) = (assignment.to.quoted(), literal(&format!("{}: does not fit {declared}", assignment.to)));
        body.push_str(&format!("doing := {fits}; held.{name} := found.v{place};\n"));
        if column.is_some_and(|column| column.not_null) {
            let missing = literal(&format!("{}: must not be null", assignment.to));
            body.push_str(&format!("IF held.{name} IS NULL THEN RETURN {missing}; END IF;\n"));
        }
        culprits.push_str(&format!(
            "BEGIN PERFORM {} FROM {given}; EXCEPTION WHEN {REFUSALS} THEN RETURN {fits} || ' (' || SQLSTATE || ')'; END;\n",
            assignment.expression
        ));
    }
    for (name, check) in checks {
        let violated = literal(&format!("violates check {name}"));
        body.push_str(&format!(
            "doing := {violated}; SELECT {check} INTO fits FROM (SELECT held.*) AS monolith; \
             IF NOT fits THEN RETURN doing; END IF;\n"
        ));
    }
    // All expressions at once, for speed; one by one only for a row that has failed.
    let body = format!(
        "#variable_conflict use_column
DECLARE given text[] := strangler_row::text[]; found record; held {table}%ROWTYPE; fits boolean; doing text;
BEGIN
SELECT {values} INTO found FROM {given};
{body}RETURN NULL;
EXCEPTION WHEN {REFUSALS} THEN
IF doing IS NOT NULL THEN RETURN doing || ' (' || SQLSTATE || ')'; END IF;
{culprits}RETURN 'the mapping cannot compute it (' || SQLSTATE || ')';
END",
        table = table.source.quoted(),
        values = values.join(", "),
    );
    format!(
        "CREATE OR REPLACE FUNCTION pg_temp.strangler_unfit(strangler_row text) RETURNS text LANGUAGE plpgsql STABLE AS {}",
        dollar_quoted(&body)
    )
}

async fn try_rows(
    there: &mut PgConnection,
    here: &mut PgConnection,
    table: &TablePlan,
    flow: &TableFlow,
    found: &mut UnfitRows,
) -> sqlx::Result<()> {
    let texts = |columns: &mut dyn Iterator<Item = String>| {
        columns.map(|column| format!("{column}::text")).collect::<Vec<_>>().join(", ")
    };
    let key = texts(&mut table.identity.iter().map(|key| key.target.quoted()));
    let values = texts(&mut flow.columns.iter().map(|column| column.name.quoted()));
    let sql =
        format!("SELECT (ARRAY[{key}]::text[])::text, (ARRAY[{values}]::text[])::text FROM {}", table.target.quoted());
    let mut rows = sqlx::query_as::<_, (String, String)>(AssertSqlSafe(sql)).fetch(here);
    let (mut keys, mut batch, mut bytes, mut named) = (Vec::new(), Vec::new(), 0, 0);
    loop {
        let row = rows.try_next().await?;
        let ended = row.is_none();
        if let Some((key, values)) = row {
            bytes += values.len();
            keys.push(key);
            batch.push(values);
        }
        if ended || batch.len() >= BATCH_ROWS || bytes >= BATCH_BYTES {
            for (place, reason) in refused(there, &batch).await? {
                if named == NAMED {
                    found.more = true;
                    return Ok(());
                }
                named += 1;
                let key = usize::try_from(place - 1).ok().and_then(|place| keys.get(place)).cloned();
                let key = key.filter(|_| !table.identity.is_empty()).unwrap_or_else(|| "a row".to_owned());
                found.rows.push(Unfit { table: table.target.to_string(), key, reason });
            }
            (bytes, keys, batch) = (0, Vec::new(), Vec::new());
        }
        if ended {
            return Ok(());
        }
    }
}

async fn refused(there: &mut PgConnection, batch: &[String]) -> sqlx::Result<Vec<(i64, String)>> {
    sqlx::query_as(
        "select place, reason from (select place, pg_temp.strangler_unfit(given) as reason \
         from unnest($1::text[]) with ordinality as rows (given, place)) as tried where reason is not null order by place",
    )
    .bind(batch)
    .fetch_all(there)
    .await
}

/// Values that the monolith wants to be there once, and of which the candidate has several.
async fn try_indexes(
    there: &mut PgConnection,
    here: &mut PgConnection,
    table: &TablePlan,
    found: &mut UnfitRows,
) -> sqlx::Result<()> {
    let (source, target) = (&table.source, &table.target);
    let monolith = BaseSchema::read(there, source.schema.as_str(), &[source.name.as_str().to_owned()]).await?;
    let candidate = BaseSchema::read(here, target.schema.as_str(), &[target.name.as_str().to_owned()]).await?;
    let unique = monolith.tables.values().flat_map(|table| &table.indexes).filter(|index| index.unique);
    for index in unique {
        let columns = carried(table, index).filter(|_| index.predicate.is_none());
        let Some(columns) = columns else {
            found.untried.push(format!("unique index {} of {source}", index.name));
            continue;
        };
        if candidate.tables.values().any(|table| table.is_unique(&columns)) {
            continue;
        }
        let quoted: Vec<String> = columns.iter().map(|name| crate::projection::legal(name).quoted()).collect();
        let texts: Vec<String> = quoted.iter().map(|name| format!("{name}::text")).collect();
        let sql = format!(
            "SELECT (ARRAY[{}])::text FROM {} WHERE num_nulls({names}) = 0 GROUP BY {names} HAVING count(*) > 1 LIMIT {}",
            texts.join(", "),
            target.quoted(),
            NAMED + 1,
            names = quoted.join(", "),
        );
        match sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch_all(&mut *here).await {
            Ok(twice) => {
                found.more |= twice.len() > NAMED;
                found.rows.extend(twice.into_iter().take(NAMED).map(|key| Unfit {
                    table: target.to_string(),
                    key,
                    reason: format!("is there more than once, against unique index {}", index.name),
                }));
            }
            Err(sqlx::Error::Database(refused)) => {
                found.untried.push(format!("unique index {} of {source}: {}", index.name, refused.message()));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

/// The candidate's columns that those of an index are; none where one of them is computed.
fn carried(table: &TablePlan, index: &BaseIndex) -> Option<Vec<String>> {
    let column = |name: &str| {
        let mut written = table.columns.iter().filter(|column| column.written);
        let found = written.find(|column| column.source.as_ref().is_some_and(|source| source.as_str() == name))?;
        Some(found.name.as_str().to_owned())
    };
    index.columns.iter().map(|part| column(&part.name)).collect()
}
