//! Both sides at work on one row: the monolith's tables and the lambda service's views.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::database::Database;

const ID: &str = "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f";
const OTHER: &str = "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e30";

async fn with_a_function() -> Database {
    let database = Database::mini_lambda().await;
    database
        .run(&format!(
            "insert into functions (id, name, runtime, code_key) values ('{ID}', 'hello', 'python3.11', 'k')"
        ))
        .await;
    database
}

#[tokio::test]
async fn an_insert_through_the_view_returns_what_the_monolith_made_of_it() {
    let database = Database::mini_lambda().await;
    let id = Uuid::now_v7();
    let before = Utc::now();
    let (returned, handler, timeout, created): (Uuid, String, i32, DateTime<Utc>) = sqlx::query_as(
        "insert into lambda_service.functions (id, name, runtime, code_key) values ($1, 'f', 'nodejs20', 'k') \
         returning id, handler, timeout_seconds, created_at",
    )
    .bind(id)
    .fetch_one(&database.pool)
    .await
    .expect("the view takes it");
    assert_eq!((returned, handler.as_str(), timeout), (id, "handler", 30));
    assert!((created - before).num_seconds().abs() < 60, "{created} is now in UTC");
    assert_eq!(database.text("select id::text from public.functions").await, id.to_string());
    assert_eq!(database.text("select (created_at = updated_at)::text from public.functions").await, "true");
}

#[tokio::test]
async fn what_the_monolith_writes_is_there_at_once_with_the_new_types() {
    let database = with_a_function().await;
    database
        .run(&format!("insert into executions (id, function_id, status) values ('{OTHER}', '{ID}', 'success')"))
        .await;
    let (id, function, at): (Uuid, Uuid, DateTime<Utc>) =
        sqlx::query_as("select id, function_id, created_at from lambda_service.invocations where function_id = $1")
            .bind(Uuid::parse_str(ID).expect("a UUID"))
            .fetch_one(&database.pool)
            .await
            .expect("it is there");
    assert_eq!((id.to_string(), function.to_string()), (OTHER.to_owned(), ID.to_owned()));
    assert!((Utc::now() - at).num_seconds() < 60);
}

#[tokio::test]
async fn an_update_through_the_view_fires_the_monoliths_trigger_and_returns_its_work() {
    let database = with_a_function().await;
    database.run("alter table functions disable trigger all; update functions set updated_at = '2001-01-01'; alter table functions enable trigger all").await;
    let answer = database
        .text("update lambda_service.functions set memory_mb = 256 returning (updated_at > now() - interval '1 minute')::text")
        .await;
    assert_eq!(answer, "true");
    assert_eq!(database.count("select memory_mb from public.functions").await, 256);
}

#[tokio::test]
async fn a_delete_through_the_view_cascades_as_the_monoliths_does() {
    let database = with_a_function().await;
    database
        .run(&format!(
            "insert into lambda_service.invocations (id, function_id, status) values ('{OTHER}', '{ID}', 'success')"
        ))
        .await;
    assert_eq!(database.count("select count(*) from public.executions").await, 1);
    let gone = sqlx::query("delete from lambda_service.functions where name = 'hello'")
        .execute(&database.pool)
        .await
        .expect("it may be deleted");
    assert_eq!(gone.rows_affected(), 1);
    assert_eq!(database.count("select count(*) from public.executions").await, 0);
}

#[tokio::test]
async fn refusals_of_the_monoliths_constraints_surface_as_they_are() {
    let database = with_a_function().await;
    let insert = |name: &str| {
        format!(
            "insert into lambda_service.functions (id, name, runtime, code_key) values ('{OTHER}', {name}, 'x', 'k')"
        )
    };
    assert_eq!(database.sqlstate(&insert("'hello'")).await, "23505", "the name is taken");
    assert_eq!(database.sqlstate(&insert("null")).await, "23502", "a name is needed");
    assert_eq!(
        database.sqlstate(&insert(&format!("'{}'", "x".repeat(256)))).await,
        "22001",
        "nothing is cut in silence"
    );
    let orphan =
        format!("insert into lambda_service.invocations (id, function_id, status) values ('{ID}', '{OTHER}', 's')");
    assert_eq!(database.sqlstate(&orphan).await, "23503", "the function must be there");
    let explicit_null = format!(
        "insert into lambda_service.functions (id, name, runtime, code_key, handler) values ('{OTHER}', 'n', 'x', 'k', null)"
    );
    assert_eq!(database.sqlstate(&explicit_null).await, "23502", "a null that was written is no default");
}

#[tokio::test]
async fn values_at_the_edges_come_back_as_they_went_in() {
    let database = with_a_function().await;
    for time in
        ["0001-01-01 00:00:00+00", "2026-03-29 01:30:00+00", "1999-12-31 23:59:59.999999+00", "infinity", "-infinity"]
    {
        database.run("delete from public.executions").await;
        database
            .run(&format!(
                "set time zone 'America/New_York'; \
                 insert into lambda_service.invocations (id, function_id, status, created_at) values ('{OTHER}', '{ID}', 's', '{time}'); \
                 reset time zone"
            ))
            .await;
        let same = format!("select (created_at = '{time}'::timestamptz)::text from lambda_service.invocations");
        assert_eq!(database.text(&same).await, "true", "{time}");
        let raw = time.trim_end_matches("+00");
        let same = format!("select (created_at = '{raw}'::timestamp)::text from public.executions");
        assert_eq!(database.text(&same).await, "true", "{time} is UTC in the monolith's column");
    }
    for environment in [r#"{"a": null, "é\\n": ["\"", 1e400]}"#, "[]", "null"] {
        sqlx::query("update lambda_service.functions set environment = $1::jsonb")
            .bind(environment)
            .execute(&database.pool)
            .await
            .expect("it is JSON");
        let same = "select (environment = $1::jsonb)::text from public.functions";
        let same: String =
            sqlx::query_scalar(same).bind(environment).fetch_one(&database.pool).await.expect("it is there");
        assert_eq!(same, "true", "{environment}");
    }
}

#[tokio::test]
async fn a_batch_may_be_inserted_again_without_on_conflict() {
    let database = with_a_function().await;
    let ids: Vec<Uuid> = (0..100).map(|_| Uuid::now_v7()).collect();
    for expected in [100, 0] {
        let inserted = sqlx::query(
            "insert into lambda_service.invocations (id, function_id, status, duration_ms) \
             select id, $2, 'success', 7 from unnest($1::uuid[]) as batch (id) \
             where not exists (select from lambda_service.invocations i where i.id = batch.id)",
        )
        .bind(&ids)
        .bind(Uuid::parse_str(ID).expect("a UUID"))
        .execute(&database.pool)
        .await
        .expect("the batch goes in");
        assert_eq!(inserted.rows_affected(), expected);
    }
}

/// The statement waits for the monolith's, which then changes the very row it is about to write.
#[tokio::test]
async fn an_update_that_would_undo_a_concurrent_one_is_refused() {
    let database = with_a_function().await;
    let mut monolith = database.pool.begin().await.expect("a transaction");
    sqlx::query("update functions set memory_mb = 512").execute(&mut *monolith).await.expect("it may");
    let pool = database.pool.clone();
    let candidate = tokio::spawn(async move {
        sqlx::query("update lambda_service.functions set memory_mb = memory_mb + 1").execute(&pool).await
    });
    let waiting =
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
    testkit::eventually(std::time::Duration::from_secs(10), || async { database.count(waiting).await == 1 }).await;
    monolith.commit().await.expect("it commits");
    let refused = candidate.await.expect("it ends").expect_err("its row changed");
    assert_eq!(refused.as_database_error().and_then(|error| error.code()).as_deref(), Some("40001"));
    assert_eq!(database.count("select memory_mb from functions").await, 512);
    database.run("update lambda_service.functions set memory_mb = memory_mb + 1").await;
    assert_eq!(database.count("select memory_mb from functions").await, 513);
}

#[tokio::test]
async fn the_monolith_cannot_insert_what_the_candidate_could_not_read() {
    let database = with_a_function().await;
    let insert = "insert into functions (id, name, runtime, code_key) values ('not-a-uuid', 'x', 'x', 'k')";
    assert_eq!(database.sqlstate(insert).await, "22P02");
}
