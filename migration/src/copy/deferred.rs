//! Makes what was put off: indexes, then unique and exclusion constraints, then foreign keys, which
//! need them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::{sync::watch, task::JoinSet};

use super::{
    CopyError, Progress, Settings,
    definition::{Definition, is_there, remembered},
    ledger,
};
use crate::{
    identifier::Identifier,
    slice::{SlicePlan, session_settings},
};

/// What changes are applied by; made as soon as the rows are there.
const KEY: &str = "key";

/// In this order; those of one kind are made at once.
const KINDS: [&str; 4] = [KEY, "index", "constraint", "foreign_key"];

/// Makes everything that is remembered of the slice and not there.
pub(super) async fn make(
    target: &PgPool,
    plan: &SlicePlan,
    settings: &Settings,
    progress: &watch::Sender<Progress>,
) -> Result<(), CopyError> {
    let options = target.connect_options();
    let mut keeper = connect(&options, &plan.target_schema).await.map_err(CopyError::database("reach the target"))?;
    ledger::ensure(&mut keeper).await.map_err(CopyError::database("make the ledger of copies"))?;
    ledger::lock(&mut keeper, &plan.name, settings.other_copy).await?;
    let all = remembered(&mut keeper, &plan.name).await.map_err(CopyError::database("read what was put off"))?;
    progress.send_modify(|progress| {
        progress.definitions = all.len() as u64;
        progress.definitions_done = 0;
    });
    for kind in KINDS {
        make_kind(&options, plan, &all, kind, settings, progress).await?;
    }
    // Nobody has looked at the rows yet, and the first queries would be planned for empty tables.
    let tables: Vec<String> = plan.tables.iter().map(|table| table.target.quoted()).collect();
    let analyze = format!("ANALYZE {}", tables.join(", "));
    sqlx::query(AssertSqlSafe(analyze))
        .execute(&mut keeper)
        .await
        .map_err(CopyError::database("analyze the tables"))?;
    Ok(())
}

/// Makes the keys that were put off, for who holds the slice's lock.
pub(super) async fn make_keys(
    options: &Arc<PgConnectOptions>,
    keeper: &mut PgConnection,
    plan: &SlicePlan,
    settings: &Settings,
    progress: &watch::Sender<Progress>,
) -> Result<(), CopyError> {
    let all = remembered(keeper, &plan.name).await.map_err(CopyError::database("read what was put off"))?;
    make_kind(options, plan, &all, KEY, settings, progress).await
}

async fn make_kind(
    options: &Arc<PgConnectOptions>,
    plan: &SlicePlan,
    all: &[Definition],
    kind: &str,
    settings: &Settings,
    progress: &watch::Sender<Progress>,
) -> Result<(), CopyError> {
    let left: VecDeque<Definition> = all.iter().filter(|definition| definition.kind == kind).cloned().collect();
    let builders = settings.builders.max(1).min(left.len());
    let left = Arc::new(Mutex::new(left));
    let mut running = JoinSet::new();
    for _ in 0..builders {
        running.spawn(build(
            Arc::clone(options),
            (plan.target_schema.clone(), settings.index_memory_bytes),
            Arc::clone(&left),
            progress.clone(),
        ));
    }
    while let Some(ended) = running.join_next().await {
        ended.map_err(CopyError::Reader)??;
    }
    Ok(())
}

async fn connect(options: &PgConnectOptions, schema: &Identifier) -> sqlx::Result<PgConnection> {
    let mut connection = options.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(session_settings(schema))).execute(&mut connection).await?;
    Ok(connection)
}

/// A connection that makes indexes with so much memory, or what the server grants anyhow.
async fn builder(options: &PgConnectOptions, schema: &Identifier, memory_bytes: u64) -> sqlx::Result<PgConnection> {
    let mut connection = connect(options, schema).await?;
    sqlx::query(
        "SELECT set_config('maintenance_work_mem', ($1 / 1024) || 'kB', false) \
         WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < $1",
    )
    .bind(i64::try_from(memory_bytes).unwrap_or(i64::MAX))
    .execute(&mut connection)
    .await?;
    Ok(connection)
}

async fn build(
    options: Arc<PgConnectOptions>,
    (schema, memory_bytes): (Identifier, u64),
    left: Arc<Mutex<VecDeque<Definition>>>,
    progress: watch::Sender<Progress>,
) -> Result<(), CopyError> {
    let mut connection =
        builder(&options, &schema, memory_bytes).await.map_err(CopyError::database("reach the target"))?;
    loop {
        let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(definition) = next else { return Ok(()) };
        make_one(&mut connection, &definition).await.map_err(|source| CopyError::Definition {
            table: definition.table_name.clone(),
            name: definition.name.clone(),
            source,
        })?;
        progress.send_modify(|progress| progress.definitions_done += 1);
    }
}

async fn make_one(connection: &mut PgConnection, definition: &Definition) -> sqlx::Result<()> {
    if is_there(connection, definition).await? {
        return Ok(());
    }
    sqlx::query(AssertSqlSafe(definition.statement.clone())).execute(connection).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn indexes_are_made_with_more_memory_than_the_server_gives_and_never_with_less() {
        let database = testkit::postgres().await;
        let options: PgConnectOptions = database.url.parse().expect("a URL");
        let schema = Identifier::new("public").expect("a name");
        for (given, asked, granted) in
            [("64MB", 512 << 20, "512MB"), ("64MB", (512 << 20) + 1, "512MB"), ("2GB", 512 << 20, "2GB")]
        {
            let options = options.clone().options([("maintenance_work_mem", given)]);
            let mut connection = builder(&options, &schema, asked).await.expect("a connection");
            let found: String =
                sqlx::query_scalar("SHOW maintenance_work_mem").fetch_one(&mut connection).await.expect("an answer");
            assert_eq!(found, granted, "{asked} asked where there are {given}");
        }
    }
}
