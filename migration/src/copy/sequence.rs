//! Sequences: logical replication does not carry them, and a copied identity column begins at 1.

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::CopyError;
use crate::{
    identifier::Identifier,
    slice::{SlicePlan, TablePlan, session_settings},
};

/// Sets every sequence behind a column of the target's to where the source's stands, or to the
/// column's highest value when that is higher. Never sets one back. To be called again once the
/// source is written to no more.
pub async fn set_sequences(source: &PgPool, target: &PgPool, plan: &SlicePlan) -> Result<(), CopyError> {
    let work = async {
        let mut source = source.acquire().await?.detach();
        let mut target = target.acquire().await?.detach();
        sqlx::raw_sql(AssertSqlSafe(session_settings(&plan.source_schema))).execute(&mut source).await?;
        sqlx::raw_sql(AssertSqlSafe(session_settings(&plan.target_schema))).execute(&mut target).await?;
        for table in &plan.tables {
            for column in table.columns.iter().filter(|column| column.written) {
                let Some(sequence) = behind(&mut target, &table.target.quoted(), &column.name).await? else { continue };
                let at_source = match &column.source {
                    Some(name) => position(&mut source, table, name).await?,
                    None => None,
                };
                advance(&mut target, &sequence, &table.target.quoted(), &column.name, at_source).await?;
            }
        }
        Ok(())
    };
    work.await.map_err(CopyError::database("set the sequences"))
}

/// The sequence that gives a column its values, as SQL text that `nextval` takes.
async fn behind(connection: &mut PgConnection, table: &str, column: &Identifier) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("select pg_get_serial_sequence($1, $2)")
        .bind(table)
        .bind(column.as_str())
        .fetch_one(connection)
        .await
}

/// The last value that the source's sequence gave out.
async fn position(connection: &mut PgConnection, table: &TablePlan, column: &Identifier) -> sqlx::Result<Option<i64>> {
    let Some(sequence) = behind(connection, &table.source.quoted(), column).await? else { return Ok(None) };
    // Null before its first value, and for who may not read it.
    sqlx::query_scalar("select pg_sequence_last_value($1::regclass)").bind(sequence).fetch_one(connection).await
}

async fn advance(
    connection: &mut PgConnection,
    sequence: &str,
    table: &str,
    column: &Identifier,
    at_source: Option<i64>,
) -> sqlx::Result<()> {
    let sql = format!(
        "select setval($1::regclass, highest) from (select greatest($2, (select max({})::bigint from {table}), \
         pg_sequence_last_value($1::regclass)) as highest) as found where highest >= 1",
        column.quoted()
    );
    sqlx::query(AssertSqlSafe(sql)).bind(sequence).bind(at_source).execute(connection).await.map(drop)
}
