//! Indexes and constraints that are made when the rows are there: each row would cost several times
//! as much with them.
//!
//! The primary key is made as soon as the rows are there, as changes are applied by it; the others may
//! wait. Until then whoever plans the slice reads here that it will be there.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{identifier::Identifier, slice::TablePlan};

/// One that was put off.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Definition {
    /// The table as SQL.
    pub(crate) table_name: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) statement: String,
    /// Of a key.
    pub(crate) columns: Vec<String>,
}

/// Remembers one, in the transaction that takes it away.
pub(crate) async fn remember(connection: &mut PgConnection, slice: &str, definition: &Definition) -> sqlx::Result<()> {
    sqlx::query(
        "insert into strangler.copy_definition (slice, table_name, name, kind, statement, columns) \
         values ($1, $2, $3, $4, $5, $6) on conflict (slice, table_name, name) do update set kind = excluded.kind, \
         statement = excluded.statement, columns = excluded.columns",
    )
    .bind(slice)
    .bind(&definition.table_name)
    .bind(&definition.name)
    .bind(&definition.kind)
    .bind(&definition.statement)
    .bind(&definition.columns)
    .execute(connection)
    .await
    .map(drop)
}

/// Those of a slice.
pub(crate) async fn remembered(connection: &mut PgConnection, slice: &str) -> sqlx::Result<Vec<Definition>> {
    sqlx::query_as(
        "select table_name, name, kind, statement, columns from strangler.copy_definition \
         where slice = $1 order by table_name, name",
    )
    .bind(slice)
    .fetch_all(connection)
    .await
}

/// Table, name and columns of the keys that were put off in a schema, whichever slice they are of.
pub(crate) async fn future_keys(
    connection: &mut PgConnection,
    schema: &Identifier,
    tables: &[String],
) -> sqlx::Result<Vec<(String, String, Vec<String>)>> {
    let there: bool = sqlx::query_scalar("select to_regclass('strangler.copy_definition') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "select c.relname::text, d.name, d.columns from strangler.copy_definition d \
         join pg_class c on c.oid = to_regclass(d.table_name) join pg_namespace n on n.oid = c.relnamespace \
         where d.kind = 'key' and n.nspname = $1 and c.relname = any($2) order by 1, 2",
    )
    .bind(schema.as_str())
    .bind(tables)
    .fetch_all(connection)
    .await
}

/// Takes away what slows the copy down, and remembers it, all in one transaction.
pub(crate) async fn put_off(connection: &mut PgConnection, slice: &str, table: &TablePlan) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    let key: Vec<String> = table.identity.iter().map(|key| key.target.as_str().to_owned()).collect();
    let table_name = table.target.quoted();
    let found: Vec<(String, String, String, String, Vec<String>)> = sqlx::query_as(include_str!("definition.sql"))
        .bind(&table_name)
        .bind(&key)
        .fetch_all(&mut *transaction)
        .await?;
    for (kind, name, statement, removal, columns) in found {
        let definition = Definition { table_name: table_name.clone(), name, kind, statement, columns };
        remember(&mut transaction, slice, &definition).await?;
        sqlx::query(AssertSqlSafe(removal)).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Whether it is there already.
pub(crate) async fn is_there(connection: &mut PgConnection, definition: &Definition) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select case when $1 = 'index' then exists ( \
                    select from pg_index i join pg_class c on c.oid = i.indexrelid \
                    where i.indrelid = $2::regclass and c.relname = $3 and i.indisvalid) \
                else exists (select from pg_constraint where conrelid = $2::regclass and conname = $3) end",
    )
    .bind(&definition.kind)
    .bind(&definition.table_name)
    .bind(&definition.name)
    .fetch_one(connection)
    .await
}
