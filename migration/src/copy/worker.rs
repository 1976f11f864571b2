//! Divides the tables, and lets several readers copy the chunks.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::{sync::watch, task::JoinSet};

use super::{
    CopyError, Load, NAME, Outcome, Progress, Settings, Snapshot,
    chunk::{Chunk, source_key},
    deferred, ledger,
    lookout::{Lookout, Pace},
    progress::Meter,
    transfer::{begin_reading, transfer},
};
use crate::{
    finding::Finding,
    identifier::Identifier,
    link::{Address, LinkError, Session},
    mapping::Owner,
    slice::{KeyRange, SlicePlan, TablePlan, borders, session_settings},
};

/// Copies every chunk that is not there yet. Ends early when it is dropped, and can be called again.
///
/// The pools are only asked for their addresses: readers and writers have connections of their own.
pub async fn run(
    source: &PgPool,
    target: &PgPool,
    plan: &SlicePlan,
    snapshot: &Snapshot,
    settings: &Settings,
    progress: &watch::Sender<Progress>,
) -> Result<Outcome, CopyError> {
    let (source, target) = (source.connect_options(), target.connect_options());
    // Holds the lock until the end, and does whatever is not a chunk.
    let mut keeper = connect(&target, &plan.target_schema).await.map_err(CopyError::database("reach the target"))?;
    ledger::ensure(&mut keeper).await.map_err(CopyError::database("make the ledger of copies"))?;
    ledger::lock(&mut keeper, &plan.name, settings.other_copy).await?;
    divide(&source, &mut keeper, plan, snapshot, settings).await?;
    let chunks = undone(&mut keeper, plan).await.map_err(CopyError::database("read what is copied already"))?;
    let before = ledger::totals(&mut keeper, &plan.name).await.map_err(CopyError::database("read the ledger"))?;
    let meter = Arc::new(Meter::begin(progress.clone(), &before));
    let (paused, pausing) = watch::channel(false);
    let lookout = Lookout::open((&source, &target), settings.load, paused, Arc::clone(&meter)).await?;
    let work = Arc::new(Work {
        source: Arc::unwrap_or_clone(source),
        target: target.as_ref().clone(),
        plan_schemas: (plan.source_schema.clone(), plan.target_schema.clone()),
        snapshot: snapshot.clone(),
        pace: Pace::new(settings.bytes_per_second, pausing),
        left: Mutex::new(chunks.into()),
        meter: Arc::clone(&meter),
    });
    match lookout {
        Some(mut lookout) => {
            lookout.look().await?;
            tokio::select! {
                read = read_all(&work, settings.readers) => read?,
                blind = lookout.keep_looking() => return Err(blind),
            }
            meter.looked(Load::default(), None);
        }
        None => read_all(&work, settings.readers).await?,
    }
    deferred::make_keys(&target, &mut keeper, plan, settings, progress).await?;
    let totals = ledger::totals(&mut keeper, &plan.name).await.map_err(CopyError::database("read the ledger"))?;
    Ok(Outcome {
        rows: totals.rows,
        bytes: totals.bytes,
        copied_chunks: meter.chunks_of_this_run(),
        earliest_lsn: totals.earliest_lsn.unwrap_or_else(|| snapshot.lsn.clone()),
        consistent_lsn: totals.latest_lsn.unwrap_or_else(|| snapshot.lsn.clone()),
    })
}

const AT_SNAPSHOT: &str = "read the source at the snapshot";

/// What the readers share.
struct Work {
    source: PgConnectOptions,
    target: PgConnectOptions,
    plan_schemas: (Identifier, Identifier),
    snapshot: Snapshot,
    pace: Pace,
    left: Mutex<VecDeque<Chunk>>,
    meter: Arc<Meter>,
}

impl Work {
    fn next(&self) -> Option<Chunk> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// The first failure ends all: dropping the set aborts the others, and their transactions with them.
async fn read_all(work: &Arc<Work>, readers: usize) -> Result<(), CopyError> {
    let open = work.left.lock().unwrap_or_else(PoisonError::into_inner).len();
    let mut running = JoinSet::new();
    for _ in 0..readers.max(1).min(open) {
        running.spawn(read(Arc::clone(work)));
    }
    while let Some(ended) = running.join_next().await {
        ended.map_err(CopyError::Reader)??;
    }
    Ok(())
}

async fn read(work: Arc<Work>) -> Result<(), CopyError> {
    let (source_schema, target_schema) = &work.plan_schemas;
    let mut source = chunk_reader(&work.source, source_schema, &work.snapshot).await?;
    let mut target = chunk_writer(&work.target, target_schema).await.map_err(CopyError::link("reach the target"))?;
    while let Some(chunk) = work.next() {
        transfer(&mut source, &mut target, &chunk, &work.snapshot.lsn, &work.pace, &work.meter).await.map_err(
            |source| CopyError::Chunk { table: chunk.table.target.to_string(), chunk: chunk.number, source },
        )?;
    }
    // All rows are there, however they take the news.
    let _ = (source.close().await, target.close().await);
    Ok(())
}

/// A connection for rows, that sees the source as it was at the snapshot, until it ends.
async fn chunk_reader(
    options: &PgConnectOptions,
    schema: &Identifier,
    snapshot: &Snapshot,
) -> Result<Session, CopyError> {
    let mut session = link(options, schema).await.map_err(CopyError::link("reach the source"))?;
    match session.query(&begin_reading(&snapshot.id).0).await {
        Ok(_) => Ok(session),
        Err(refused) => Err(snapshot.gone(refused.code()).unwrap_or_else(|| CopyError::link(AT_SNAPSHOT)(refused))),
    }
}

/// A connection for rows under which no trigger of the target runs, where the role may say so. They are what the source's
/// triggers made of them already.
async fn chunk_writer(options: &PgConnectOptions, schema: &Identifier) -> Result<Session, LinkError> {
    let mut session = link(options, schema).await?;
    match session.query("SET session_replication_role = replica").await {
        // Checked before: there is no trigger that would run.
        Err(refused) if refused.code() == Some("42501") => Ok(session),
        answer => answer.map(|_| session),
    }
}

async fn link(options: &PgConnectOptions, schema: &Identifier) -> Result<Session, LinkError> {
    let mut session = Session::plain(&Address::of(options), NAME).await?;
    session.query(&session_settings(schema)).await?;
    Ok(session)
}

async fn connect(options: &PgConnectOptions, schema: &Identifier) -> sqlx::Result<PgConnection> {
    let mut connection = options.clone().application_name(NAME).connect().await?;
    sqlx::raw_sql(AssertSqlSafe(session_settings(schema))).execute(&mut connection).await?;
    Ok(connection)
}

/// A connection that sees the source as it was at the snapshot, until it ends.
async fn reader(
    options: &PgConnectOptions,
    schema: &Identifier,
    snapshot: &Snapshot,
) -> Result<PgConnection, CopyError> {
    let mut connection = connect(options, schema).await.map_err(CopyError::database("reach the source"))?;
    match sqlx::raw_sql(begin_reading(&snapshot.id)).execute(&mut connection).await {
        Ok(_) => Ok(connection),
        Err(refused) => {
            let code = refused.as_database_error().and_then(|error| error.code());
            Err(snapshot.gone(code.as_deref()).unwrap_or_else(|| CopyError::database(AT_SNAPSHOT)(refused)))
        }
    }
}

/// Divides the tables that are not divided yet, and says what stands in the way of it.
async fn divide(
    source: &PgConnectOptions,
    keeper: &mut PgConnection,
    plan: &SlicePlan,
    snapshot: &Snapshot,
    settings: &Settings,
) -> Result<(), CopyError> {
    let mut open = Vec::new();
    let mut findings = Vec::new();
    for table in &plan.tables {
        if table.missing {
            findings.push(Finding::new(
                &table.key,
                format!("`{}` is not there", table.target),
                "prepare the target first",
            ));
        } else if !ledger::is_divided(keeper, &plan.name, &table.target)
            .await
            .map_err(CopyError::database("read the ledger"))?
        {
            findings.extend(obstacle(keeper, plan, table).await.map_err(CopyError::database("look at the target"))?);
            open.push(table);
        }
    }
    if !findings.is_empty() {
        return Err(CopyError::Unfit { findings });
    }
    if open.is_empty() {
        return Ok(());
    }
    let mut reading = reader(source, &plan.source_schema, snapshot).await?;
    for table in open {
        let borders = borders(&mut reading, &table.source, &source_key(table), settings.chunk_bytes)
            .await
            .map_err(CopyError::database("divide a table"))?;
        ledger::divide(keeper, &plan.name, &table.target, &KeyRange::between(&borders))
            .await
            .map_err(CopyError::database("write the ledger"))?;
    }
    Ok(())
}

async fn obstacle(keeper: &mut PgConnection, plan: &SlicePlan, table: &TablePlan) -> sqlx::Result<Option<Finding>> {
    let name = table.target.quoted();
    let (holds_rows, has_triggers): (bool, bool) = sqlx::query_as(AssertSqlSafe(format!(
        "select exists (select from {name}), exists (\
         select from pg_trigger where tgrelid = $1::regclass and not tgisinternal and tgenabled = 'O')"
    )))
    .bind(&name)
    .fetch_one(&mut *keeper)
    .await?;
    if holds_rows && plan.owner == Owner::Switch {
        return Ok(Some(Finding::new(
            &table.key,
            format!("`{}` holds rows already, and none of them came from this copy", table.target),
            "empty it, or use owner = \"append\" when both sides add rows of their own",
        )));
    }
    if has_triggers && !may_silence_triggers(keeper).await? {
        return Ok(Some(Finding::new(
            &table.key,
            format!("`{}` has triggers that would change the rows as they come", table.target),
            "GRANT SET ON PARAMETER session_replication_role to this role, or disable them meanwhile",
        )));
    }
    Ok(None)
}

async fn may_silence_triggers(keeper: &mut PgConnection) -> sqlx::Result<bool> {
    let mut attempt = keeper.begin().await?;
    let answer = sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *attempt).await;
    attempt.rollback().await?;
    match answer {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(_)) => Ok(false),
        Err(other) => Err(other),
    }
}

async fn undone(keeper: &mut PgConnection, plan: &SlicePlan) -> sqlx::Result<Vec<Chunk>> {
    let mut chunks = Vec::new();
    for table in &plan.tables {
        let (table, misspelled) = (Arc::new(table.clone()), Arc::default());
        for (number, range) in ledger::undone(keeper, &plan.name, &table.target).await? {
            let (table, misspelled) = (Arc::clone(&table), Arc::clone(&misspelled));
            chunks.push(Chunk { slice: plan.name.clone(), table, number, range, misspelled });
        }
    }
    Ok(chunks)
}
