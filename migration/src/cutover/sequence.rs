//! Sequences of the new owner's columns, set beyond every value that the old owner gave out.

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::{identifier::QualifiedName, slice::SlicePlan, stream::Direction};

/// One column on both sides.
struct Pair {
    from: (QualifiedName, String),
    to: (QualifiedName, String),
}

/// Sets every sequence behind a column of the new owner's to where the old owner's stands, or to the column's
/// highest value when that is higher. Never sets one back.
pub(super) async fn carry(from: &PgPool, to: &PgPool, plan: &SlicePlan, direction: Direction) -> sqlx::Result<()> {
    let pairs = pairs(plan, direction);
    if pairs.is_empty() {
        return Ok(());
    }
    let (mut from, mut to) = (from.acquire().await?, to.acquire().await?);
    for pair in pairs {
        let Some(sequence) = behind(&mut to, &pair.to).await? else { continue };
        let given_out = match behind(&mut from, &pair.from).await? {
            Some(old) => last_value(&mut from, &old).await?,
            None => None,
        };
        let (table, column) = (pair.to.0.quoted(), quoted(&pair.to.1));
        let sql = format!(
            "SELECT setval($1::regclass, highest) FROM (SELECT greatest($2, (SELECT max({column})::bigint FROM {table}), \
             pg_sequence_last_value($1::regclass)) AS highest) AS found WHERE highest >= 1"
        );
        sqlx::query(AssertSqlSafe(sql)).bind(sequence).bind(given_out).execute(&mut *to).await?;
    }
    Ok(())
}

/// Columns that are the same on both sides and are given their values.
fn pairs(plan: &SlicePlan, direction: Direction) -> Vec<Pair> {
    let of_table = |table: &crate::slice::TablePlan| {
        let columns = table.columns.iter().filter(|column| column.written);
        let pairs = columns.filter_map(|column| {
            let monolith = (table.source.clone(), column.source.as_ref()?.as_str().to_owned());
            let candidate = (table.target.clone(), column.name.as_str().to_owned());
            let (from, to) = direction.ends(monolith, candidate);
            Some(Pair { from, to })
        });
        pairs.collect::<Vec<_>>()
    };
    plan.tables.iter().flat_map(of_table).collect()
}

/// The sequence that gives a column its values, as SQL text that `nextval` takes.
async fn behind(
    connection: &mut PgConnection,
    (table, column): &(QualifiedName, String),
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT pg_get_serial_sequence($1, $2)")
        .bind(table.quoted())
        .bind(column)
        .fetch_one(connection)
        .await
}

/// The last value that was given out; none before the first.
async fn last_value(connection: &mut PgConnection, sequence: &str) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar("SELECT pg_sequence_last_value($1::regclass)").bind(sequence).fetch_one(connection).await
}

fn quoted(column: &str) -> String {
    crate::projection::legal(column).quoted()
}
