//! The shared data stage: the same binary on views over the monolith's tables.

use std::path::Path;

use migration::{
    Mapping,
    shared::{self, Patience},
};
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::{
    contract, cron, events,
    history::{Load, recorded},
    system::{ECHO, SOON, Setup, System},
    webhooks,
};

fn in_repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The monolith's database with the views of the demo's mapping.
async fn shared_database() -> testkit::TestDatabase {
    let database = testkit::postgres().await;
    let pool = database.pool().await;
    let mut migrations: Vec<_> =
        std::fs::read_dir(in_repository("legacy/migrations")).unwrap().map(|entry| entry.unwrap().path()).collect();
    migrations.sort();
    for path in migrations {
        sqlx::raw_sql(AssertSqlSafe(std::fs::read_to_string(path).unwrap())).execute(&pool).await.unwrap();
    }
    let path = in_repository("infrastructure/local/mini-lambda/mapping.toml");
    let mapping = Mapping::from_toml("mapping.toml", &std::fs::read_to_string(path).unwrap()).unwrap();
    let plan = shared::plan(&pool, &mapping).await.unwrap();
    shared::apply(&pool, &plan, Patience::default()).await.unwrap();
    pool.close().await;
    database
}

async fn shared_system() -> System {
    let setup = Setup::default().database(shared_database().await).with("DATABASE__MIGRATE", "false");
    setup.with("HTTP__BODY_LIMIT", "64 KiB").start().await
}

#[tokio::test]
async fn views_over_the_monoliths_tables_serve_the_contract() {
    let system = shared_system().await;
    contract::creating_is_checked(&system).await;
    contract::functions_are_listed_read_and_deleted(&system).await;
    contract::invoking_answers_what_the_function_did(&system).await;
    contract::executions_are_listed(&system).await;
    contract::what_a_function_is_created_with_is_applied(&system).await;
}

#[tokio::test]
async fn views_over_the_monoliths_tables_carry_events_triggers_and_webhooks() {
    let setup = Setup::default().database(shared_database().await).with("DATABASE__MIGRATE", "false");
    let system = events::with_fast_retries(setup).start().await;
    events::asynchronous_calls(&system).await;
    events::a_dead_letter_is_retried_for_real(&system).await;
    events::a_function_that_goes_takes_its_events_along(&system).await;
    webhooks::the_webhooks_of_the_contract(&system).await;
    cron::the_triggers_of_the_contract(&system).await;
    cron::a_trigger_fires_on_time_and_again(&system).await;
    cron::missed_runs_by_policy(&system).await;
    cron::a_pause_holds_everything(&system).await;
    let database = system.database().await;
    let theirs: (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM public.event_audit_logs), (SELECT count(*) FROM public.dead_letter_queue)",
    )
    .fetch_one(&database)
    .await
    .unwrap();
    assert!(theirs.0 > 10, "the monolith sees what became of each: {theirs:?}");
}

#[tokio::test]
async fn both_sides_see_each_others_rows_at_once() {
    let system = shared_system().await;
    let database = system.database().await;
    let ours = system.create("python3.11", ECHO).await;
    let name: String = sqlx::query_scalar("SELECT name FROM public.functions WHERE id = $1")
        .bind(&ours)
        .fetch_one(&database)
        .await
        .unwrap();
    assert!(name.starts_with("function_"));

    // A function of the monolith's, with code that is in the store already.
    let theirs = uuid::Uuid::now_v7().to_string();
    sqlx::query(
        "INSERT INTO public.functions (id, name, runtime, handler, code_key) \
         SELECT $1, 'theirs', runtime, handler, code_key FROM public.functions WHERE id = $2",
    )
    .bind(&theirs)
    .bind(&ours)
    .execute(&database)
    .await
    .unwrap();
    assert_eq!(system.invoke(&theirs, &json!({"a": 1})).await["output"], json!({"a": 1}));
    sqlx::query("DELETE FROM public.functions WHERE id = $1").bind(&theirs).execute(&database).await.unwrap();
    assert_eq!(system.try_invoke(&theirs, &json!({})).await.status, 404, "no cache is stale");
}

#[tokio::test]
async fn executions_under_load_reach_the_monoliths_table_once() {
    let mut system = shared_system().await;
    let id = system.create("python3.11", ECHO).await;
    let load = Load::on(&system, &id, 4);
    testkit::eventually(SOON, || async { load.count() >= 300 }).await;
    system.service.kill().await;
    let answered = load.end().await;
    system.service.start_again().await;
    let database = system.database().await;
    testkit::eventually(SOON, || async { answered.is_subset(&recorded(&database, &id).await) }).await;
    let theirs: i64 = sqlx::query_scalar("SELECT count(*) FROM public.executions WHERE function_id = $1")
        .bind(&id)
        .fetch_one(&database)
        .await
        .unwrap();
    assert!(usize::try_from(theirs).unwrap() >= answered.len());
}
