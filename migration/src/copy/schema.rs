//! Makes the tables that the target does not have, from the mapping and the monolith's.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use super::{CopyError, definition, ledger, outline::Outline};
use crate::{
    base::BaseSchema,
    mapping::{Mapping, Owner},
    slice::{SlicePlan, TablePlan, read_plan, session_settings},
};

/// Makes what the target does not have yet, and takes away the indexes and constraints of its empty
/// tables until [`super::finish`]. Returns the slice's plan with nothing missing.
///
/// A table that is made gets the columns, defaults, primary key, plain B-tree indexes and the
/// foreign keys inside of the slice. A generated column becomes a plain one that carries the
/// monolith's value; partitions become one table; checks, triggers, and indexes with a condition or
/// an expression are left out. Tables that are there stay as their service made them.
pub async fn prepare(source: &PgPool, target: &PgPool, mapping: &Mapping, slice: &str) -> Result<SlicePlan, CopyError> {
    let connections = async { Ok((source.acquire().await?.detach(), target.acquire().await?.detach())) };
    let (mut source, mut target) = connections.await.map_err(CopyError::database("reach both databases"))?;
    let plan = read_plan(&mut source, &mut target, mapping, slice).await?;
    let work = async {
        sqlx::raw_sql(AssertSqlSafe(session_settings(&plan.source_schema))).execute(&mut source).await?;
        sqlx::raw_sql(AssertSqlSafe(session_settings(&plan.target_schema))).execute(&mut target).await?;
        ledger::ensure(&mut target).await?;
        if plan.missing().next().is_some() {
            create(&mut source, &mut target, &plan).await?;
        }
        // Foreign keys before the keys that they need.
        for table in plan.tables.iter().rev().filter(|table| !table.missing) {
            if is_untouched(&mut target, &plan, table).await? {
                definition::put_off(&mut target, &plan.name, table).await?;
            }
        }
        sqlx::Result::Ok(())
    };
    work.await.map_err(CopyError::database("make the tables of the target"))?;
    Ok(read_plan(&mut source, &mut target, mapping, slice).await?)
}

/// Whether nothing lives in a table that needs its indexes.
async fn is_untouched(target: &mut PgConnection, plan: &SlicePlan, table: &TablePlan) -> sqlx::Result<bool> {
    if plan.owner == Owner::Append || ledger::is_divided(target, &plan.name, &table.target).await? {
        return Ok(false);
    }
    let sql = format!("select not exists (select from {})", table.target.quoted());
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(target).await
}

/// All of it or nothing.
async fn create(source: &mut PgConnection, target: &mut PgConnection, plan: &SlicePlan) -> sqlx::Result<()> {
    let names: Vec<String> = plan.missing().map(|table| table.source.name.as_str().to_owned()).collect();
    let base = BaseSchema::read(source, plan.source_schema.as_str(), &names).await?;
    let types: Vec<(String, String)> = sqlx::query_as(include_str!("types.sql"))
        .bind(plan.source_schema.as_str())
        .bind(&names)
        .fetch_all(source)
        .await?;
    let mut transaction = target.begin().await?;
    let schema = plan.target_schema.quoted();
    let make_schema = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
    sqlx::query(AssertSqlSafe(make_schema)).execute(&mut *transaction).await?;
    // What is made without a schema shall land here: the path of the session begins elsewhere.
    let path = format!("SET LOCAL search_path = {schema}, pg_catalog, pg_temp");
    sqlx::query(AssertSqlSafe(path)).execute(&mut *transaction).await?;
    for (name, statement) in types {
        let there: bool = sqlx::query_scalar(
            "select exists (select from pg_type t join pg_namespace n on n.oid = t.typnamespace \
             where n.nspname = $1 and t.typname = $2)",
        )
        .bind(plan.target_schema.as_str())
        .bind(name)
        .fetch_one(&mut *transaction)
        .await?;
        if !there {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
        }
    }
    let made: BTreeMap<&str, &TablePlan> =
        plan.tables.iter().map(|table| (table.source.name.as_str(), table)).collect();
    for table in plan.missing() {
        let outline = Outline::new(table, &base.tables[table.source.name.as_str()], &made);
        sqlx::query(AssertSqlSafe(outline.create)).execute(&mut *transaction).await?;
        for definition in &outline.definitions {
            definition::remember(&mut transaction, &plan.name, definition).await?;
        }
    }
    transaction.commit().await
}
