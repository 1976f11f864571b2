//! Whether what is there survives the mapping: each expression is one, and each row can be read.
//!
//! It runs in a transaction that is rolled back. The expressions are tried as temporary views,
//! which PostgreSQL checks without running them; the rows are read once through the conversions,
//! and only when that fails are the bad ones looked for, one by one.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::{
    base::{BaseColumn, BaseTable},
    finding::Finding,
    identifier::dollar_quoted,
    mapping::key,
    projection::{BASE, Conversion, Projection, ViewColumn, ViewColumnKind, quoted},
};

/// How many bad values a finding names.
const SAMPLES: usize = 3;

/// SQLSTATE class of values that do not fit a type.
const DATA_EXCEPTION: &str = "22";

/// Tries a projection on the live database; the findings are empty when everything fits.
pub(crate) async fn prove(
    connection: &mut PgConnection,
    projection: &Projection,
    base: &BaseTable,
) -> sqlx::Result<Vec<Finding>> {
    let mut findings = prove_expressions(connection, projection).await?;
    if findings.is_empty() {
        findings = prove_rows(connection, projection, base).await?;
    }
    Ok(findings)
}

async fn prove_expressions(connection: &mut PgConnection, projection: &Projection) -> sqlx::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let table = projection.base.quoted();
    for column in &projection.columns {
        let fix = match &column.kind {
            // A column as it stands needs no trial.
            ViewColumnKind::Carried { conversion: Conversion::None, .. } => continue,
            ViewColumnKind::Carried { .. } => "choose a type that the monolith's can be cast to, or write `read`",
            ViewColumnKind::Computed { .. } => "write one SQL expression over the monolith's columns",
        };
        let sql = format!("SELECT {} AS value FROM {table} AS {BASE}", column.read());
        if let Some(problem) = probe(connection, &sql).await? {
            let at = key(&format!("{}.columns", projection.key), column.name.as_str());
            findings.push(Finding::new(at, problem, fix));
        }
    }
    if !findings.is_empty() {
        return Ok(findings);
    }
    let reads: Vec<String> =
        projection.columns.iter().map(|column| format!("{} AS {}", column.read(), column.name.quoted())).collect();
    let candidate = format!("(SELECT {} FROM {table} AS {BASE}) AS candidate", reads.join(", "));
    let inverses = projection.converted().filter_map(|(column, _)| {
        let (_, conversion) = column.carried()?;
        let at = key(&format!("{}.columns", projection.key), column.name.as_str());
        Some((at, conversion.write(&format!("candidate.{}", column.name.quoted()))))
    });
    let writes = projection.computed_writes.iter().map(|write| {
        (
            key(&format!("{}.write", projection.key), &write.base.name),
            format!("({})::{}", write.expression, write.base.bare_type),
        )
    });
    for (at, expression) in inverses.chain(writes) {
        if let Some(problem) = probe(connection, &format!("SELECT {expression} AS value FROM {candidate}")).await? {
            findings.push(Finding::new(at, problem, "it must lead back to the type of the monolith's column"));
        }
    }
    Ok(findings)
}

/// What PostgreSQL says against a query of one column, if anything.
async fn probe(connection: &mut PgConnection, query: &str) -> sqlx::Result<Option<String>> {
    let mut attempt = connection.begin().await?;
    let create = format!("CREATE TEMPORARY VIEW migration_probe AS {query}");
    let answer = match sqlx::query(AssertSqlSafe(create)).execute(&mut *attempt).await {
        Err(sqlx::Error::Database(problem)) => Some(problem.message().to_owned()),
        Err(other) => return Err(other),
        Ok(_) => {
            let columns: i64 = sqlx::query_scalar(
                "select count(*) from pg_attribute where attrelid = 'pg_temp.migration_probe'::regclass and attnum > 0",
            )
            .fetch_one(&mut *attempt)
            .await?;
            (columns != 1).then(|| "it is more than one expression".to_owned())
        }
    };
    attempt.rollback().await?;
    Ok(answer)
}

async fn prove_rows(
    connection: &mut PgConnection,
    projection: &Projection,
    base: &BaseTable,
) -> sqlx::Result<Vec<Finding>> {
    if projection.converted().next().is_none() {
        return Ok(Vec::new());
    }
    let mut attempt = connection.begin().await?;
    let counted = count_respelled(&mut attempt, projection, base).await;
    attempt.rollback().await?;
    match counted {
        Ok(findings) if findings.is_empty() => find_collisions(connection, projection).await,
        Ok(findings) => Ok(findings),
        Err(sqlx::Error::Database(problem)) if problem.code().is_some_and(|code| code.starts_with(DATA_EXCEPTION)) => {
            find_unreadable(connection, projection).await
        }
        Err(other) => Err(other),
    }
}

/// Columns by which other rows are found: the identity and foreign keys.
fn is_key(projection: &Projection, column: &ViewColumn, base: &BaseTable, base_column: &BaseColumn) -> bool {
    projection.identity.contains(&column.name) || base.foreign_keys.contains(&base_column.name)
}

/// Reads every converted value once. Keys must also lead back to what they were: a UUID in capitals
/// would come back in small letters, and then refer to nothing.
async fn count_respelled(
    connection: &mut PgConnection,
    projection: &Projection,
    base: &BaseTable,
) -> sqlx::Result<Vec<Finding>> {
    let converted: Vec<(&ViewColumn, &BaseColumn)> = projection.converted().collect();
    let counts: Vec<String> = converted
        .iter()
        .map(|(column, base_column)| {
            let read = column.read();
            match column.carried() {
                Some((_, conversion)) if is_key(projection, column, base, base_column) => {
                    let back = conversion.write(&read);
                    format!("count(*) FILTER (WHERE {back} IS DISTINCT FROM {BASE}.{})", quoted(base_column))
                }
                // Never more than nothing, but the value has to be computed for it.
                _ => format!("count({read}) - count({read})"),
            }
        })
        .collect();
    let sql = format!("SELECT ARRAY[{}] FROM {} AS {BASE}", counts.join(", "), projection.base.quoted());
    let respelled: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await?;
    let bad = converted.iter().zip(respelled).filter(|(_, count)| *count > 0);
    Ok(bad
        .map(|((column, base_column), count)| {
            Finding::new(
                key(&format!("{}.columns", projection.key), column.name.as_str()),
                format!(
                    "{count} rows of `{}` spell `{}` otherwise than it would be written back",
                    projection.base, base_column.name
                ),
                "bring them into the usual spelling first: a key must be found by either side",
            )
        })
        .collect())
}

async fn find_collisions(connection: &mut PgConnection, projection: &Projection) -> sqlx::Result<Vec<Finding>> {
    let identity: Vec<&ViewColumn> =
        projection.columns.iter().filter(|column| projection.identity.contains(&column.name)).collect();
    if !projection.converted().any(|(column, _)| projection.identity.contains(&column.name)) {
        return Ok(Vec::new());
    }
    let reads: Vec<String> = identity.iter().map(|column| column.read()).collect();
    let sql = format!(
        "SELECT count(*) FROM (SELECT FROM {} AS {BASE} GROUP BY {} HAVING count(*) > 1) AS collision",
        projection.base.quoted(),
        reads.join(", ")
    );
    let collisions: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await?;
    if collisions == 0 {
        return Ok(Vec::new());
    }
    Ok(vec![Finding::new(
        format!("{}.identity", projection.key),
        format!("{collisions} identities of the view stand for several rows of `{}`", projection.base),
        "the candidate could not tell them apart; make them different or merge them first",
    )])
}

/// Counts the values that cannot be converted, column by column, and names some.
async fn find_unreadable(connection: &mut PgConnection, projection: &Projection) -> sqlx::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (column, base_column) in projection.converted() {
        let Some((_, conversion)) = column.carried() else { continue };
        let mut attempt = connection.begin().await?;
        let body = format!(
            "BEGIN PERFORM {}; RETURN true; EXCEPTION WHEN data_exception THEN RETURN false; END",
            conversion.read("$1")
        );
        let function = format!(
            "CREATE FUNCTION pg_temp.migration_fits({}) RETURNS boolean LANGUAGE plpgsql AS {}",
            base_column.bare_type,
            dollar_quoted(&body)
        );
        sqlx::query(AssertSqlSafe(function)).execute(&mut *attempt).await?;
        let name = quoted(base_column);
        let search = format!(
            "SELECT count(*) AS bad, coalesce((array_agg(left({name}::text, 64)))[1:{SAMPLES}], '{{}}') AS samples \
             FROM {} WHERE NOT pg_temp.migration_fits({name})",
            projection.base.quoted()
        );
        let row = sqlx::query(AssertSqlSafe(search)).fetch_one(&mut *attempt).await?;
        let (bad, samples): (i64, Vec<String>) = (row.try_get("bad")?, row.try_get("samples")?);
        attempt.rollback().await?;
        if bad > 0 {
            let shown: Vec<String> = samples.iter().map(|sample| format!("{sample:?}")).collect();
            findings.push(Finding::new(
                key(&format!("{}.columns", projection.key), column.name.as_str()),
                format!(
                    "{bad} rows of `{}` have a `{}` that cannot be read as the new type, such as {}",
                    projection.base,
                    base_column.name,
                    shown.join(", ")
                ),
                "correct or remove these rows first: one of them makes every query that meets it fail",
            ));
        }
    }
    Ok(findings)
}
