//! Conversions, tried with real rows: read as a copy reads them, and written into a temporary table
//! that is like the target's.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, error::DatabaseError};

use super::{Report, Settings, Severity};
use crate::{
    finding::Finding,
    inspect::survey::{SurveyedTable, sampling},
    projection::BASE,
    slice::{TablePlan, TargetColumn},
};

/// The name of the temporary table.
const PROBE: &str = "strangler_probe";

/// The values of a row as text, by the columns that are written.
type Values = Vec<Option<String>>;

/// Reads a sample, and writes it.
pub(super) async fn check(
    source: &mut PgConnection,
    target: &mut PgConnection,
    table: &TablePlan,
    survey: &SurveyedTable,
    settings: &Settings,
    report: &mut Report,
) -> sqlx::Result<()> {
    // Of a table that is yet to be made, only the server that makes it would know how a value is sent.
    let planned;
    let table = if table.missing {
        planned = with_casts(source, table).await?;
        &planned
    } else {
        table
    };
    let rows = match read(source, table, survey, settings).await {
        Ok(rows) => rows,
        Err(sqlx::Error::Database(refused)) => {
            // Some row cannot be converted; each is asked for alone.
            one_by_one(source, table, survey, settings, refused.as_ref(), report).await?
        }
        Err(other) => return Err(other),
    };
    if table.missing {
        report.rows += rows.len() as u64;
        return Ok(());
    }
    let mut writing = target.begin().await?;
    write(&mut writing, table, &rows, settings, report).await?;
    writing.rollback().await
}

/// The same plan with values cast to the candidate's types, as far as the source knows them.
async fn with_casts(source: &mut PgConnection, table: &TablePlan) -> sqlx::Result<TablePlan> {
    let names: Vec<String> = table.columns.iter().map(|column| column.data_type.clone()).collect();
    let known: Vec<String> =
        sqlx::query_scalar("select n from unnest($1::text[]) as n where to_regtype(n) is not null")
            .bind(&names)
            .fetch_all(source)
            .await?;
    let mut planned = table.clone();
    for column in &mut planned.columns {
        if known.contains(&column.data_type) {
            column.select = format!("({})::{}", column.select, column.data_type);
        }
    }
    Ok(planned)
}

fn written(table: &TablePlan) -> impl Iterator<Item = &TargetColumn> {
    table.compared()
}

fn key_texts(table: &TablePlan) -> String {
    let key: Vec<String> = table.identity.iter().map(|key| format!("{BASE}.{}::text", key.source.quoted())).collect();
    format!("ARRAY[{}]::text[]", key.join(", "))
}

fn filter(table: &TablePlan) -> String {
    table.filter.as_ref().map(|filter| format!(" AND ({filter})")).unwrap_or_default()
}

fn values(table: &TablePlan) -> String {
    let texts: Vec<String> = written(table).map(|column| format!("({})::text", column.select)).collect();
    format!("ARRAY[{}]::text[]", texts.join(", "))
}

/// The sample, in one statement.
async fn read(
    source: &mut PgConnection,
    table: &TablePlan,
    survey: &SurveyedTable,
    settings: &Settings,
) -> sqlx::Result<Vec<(Vec<String>, Values)>> {
    let sql = format!(
        "SELECT {}, {} FROM {} AS {BASE}{} WHERE true{} LIMIT {}",
        key_texts(table),
        values(table),
        table.source.quoted(),
        sampling(survey, settings.sampled_rows),
        filter(table),
        settings.sampled_rows
    );
    sqlx::query_as(AssertSqlSafe(sql)).fetch_all(source).await
}

/// Each row of a sample alone, and those that cannot be converted named.
async fn one_by_one(
    source: &mut PgConnection,
    table: &TablePlan,
    survey: &SurveyedTable,
    settings: &Settings,
    refused: &dyn DatabaseError,
    report: &mut Report,
) -> sqlx::Result<Vec<(Vec<String>, Values)>> {
    if table.identity.is_empty() {
        report.errors([finding(table, None, "a row", refused.message())]);
        return Ok(Vec::new());
    }
    let keys = format!(
        "SELECT {} FROM {} AS {BASE}{} LIMIT {}",
        key_texts(table),
        table.source.quoted(),
        sampling(survey, settings.sampled_rows),
        settings.sampled_rows
    );
    let keys: Vec<Vec<String>> = sqlx::query_scalar(AssertSqlSafe(keys)).fetch_all(&mut *source).await?;
    let mut good = Vec::new();
    let mut bad = 0_usize;
    for key in keys {
        match one(source, table, &key, &values(table)).await {
            Ok(Some(values)) => good.push((key, values)),
            Ok(None) => {}
            Err(sqlx::Error::Database(refused)) => {
                bad += 1;
                if bad <= settings.named_rows {
                    let column = culprit(source, table, &key).await?;
                    report.errors([finding(table, column, &shown(&key), refused.message())]);
                }
            }
            Err(other) => return Err(other),
        }
    }
    if bad == 0 {
        // It was in a row of the first sample, or in the filter itself.
        report.errors([finding(table, None, "a row", refused.message())]);
    } else if bad > settings.named_rows {
        report
            .add(Severity::Note, Finding::new(&table.key, format!("{bad} rows of the sample cannot be converted"), ""));
    }
    Ok(good)
}

async fn one(source: &mut PgConnection, table: &TablePlan, key: &[String], what: &str) -> sqlx::Result<Option<Values>> {
    let condition: Vec<String> = table
        .identity
        .iter()
        .enumerate()
        .map(|(place, part)| {
            let data_type = table.source_columns.iter().find(|column| column.name == part.source);
            let data_type = data_type.map_or("text", |column| column.data_type.as_str());
            format!("{BASE}.{} = ${}::text::{data_type}", part.source.quoted(), place + 1)
        })
        .collect();
    let sql = format!(
        "SELECT {what} FROM {} AS {BASE} WHERE {}{}",
        table.source.quoted(),
        condition.join(" AND "),
        filter(table)
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for part in key {
        query = query.bind(part);
    }
    query.fetch_optional(source).await?.map(|row| row.try_get(0)).transpose()
}

/// The column of a row that cannot be converted.
async fn culprit<'a>(
    source: &mut PgConnection,
    table: &'a TablePlan,
    key: &[String],
) -> sqlx::Result<Option<&'a TargetColumn>> {
    for column in written(table) {
        let alone = format!("ARRAY[({})::text]::text[]", column.select);
        match one(source, table, key, &alone).await {
            Err(sqlx::Error::Database(_)) => return Ok(Some(column)),
            Err(other) => return Err(other),
            Ok(_) => {}
        }
    }
    Ok(None)
}

/// Writes each row into a table with the columns, defaults and checks of the target's.
async fn write(
    target: &mut PgConnection,
    table: &TablePlan,
    rows: &[(Vec<String>, Values)],
    settings: &Settings,
    report: &mut Report,
) -> sqlx::Result<()> {
    let make = format!(
        "CREATE TEMPORARY TABLE {PROBE} (LIKE {} INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED) ON COMMIT DROP",
        table.target.quoted()
    );
    let mut attempt = target.begin().await?;
    match sqlx::query(AssertSqlSafe(make)).execute(&mut *attempt).await {
        Ok(_) => attempt.commit().await?,
        Err(sqlx::Error::Database(refused)) => {
            attempt.rollback().await?;
            report.add(
                Severity::Warning,
                Finding::new(
                    &table.key,
                    format!("rows could not be tried in the target: {}", refused.message()),
                    "GRANT TEMPORARY ON DATABASE … TO this role, and SELECT on the table",
                ),
            );
            return Ok(());
        }
        Err(other) => return Err(other),
    }
    let names: Vec<String> = written(table).map(|column| column.name.quoted()).collect();
    let casts: Vec<String> = written(table)
        .enumerate()
        .map(|(place, column)| format!("($1::text[])[{}]::{}", place + 1, column.data_type))
        .collect();
    let insert = format!("INSERT INTO pg_temp.{PROBE} ({}) SELECT {}", names.join(", "), casts.join(", "));
    let mut bad = 0_usize;
    for (key, values) in rows {
        let mut attempt = target.begin().await?;
        match sqlx::query(AssertSqlSafe(insert.clone())).bind(values).execute(&mut *attempt).await {
            Ok(_) => {
                attempt.commit().await?;
                report.rows += 1;
            }
            Err(sqlx::Error::Database(refused)) => {
                attempt.rollback().await?;
                bad += 1;
                if bad <= settings.named_rows {
                    report.errors([Finding::new(
                        &table.key,
                        format!(
                            "the target refuses the row {} of `{}`: {}",
                            shown(key),
                            table.source,
                            refused.message()
                        ),
                        "mend the row, let the mapping compute what fits, or loosen the target's constraint",
                    )]);
                }
            }
            Err(other) => return Err(other),
        }
    }
    if bad > settings.named_rows {
        report
            .add(Severity::Note, Finding::new(&table.key, format!("the target refuses {bad} rows of the sample"), ""));
    }
    Ok(())
}

fn finding(table: &TablePlan, column: Option<&TargetColumn>, row: &str, reason: &str) -> Finding {
    let at = column.map_or_else(|| table.key.clone(), |column| format!("{}.columns.{}", table.key, column.name));
    Finding::new(
        at,
        format!("{row} of `{}` cannot be converted: {reason}", table.source),
        "mend the row, leave it out by the slice's filter, or compute a value with `read`",
    )
}

fn shown(key: &[String]) -> String {
    if key.is_empty() { "a row".to_owned() } else { format!("({})", key.join(", ")) }
}
