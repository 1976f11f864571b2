//! Queries through the views use indexes, and what a write through them costs.

use std::time::Instant;

use sqlx::AssertSqlSafe;

use crate::database::Database;

const ROWS: usize = 100_000;
const FUNCTION: &str = "00000000-0000-4000-8000-000000000007";

async fn with_rows() -> Database {
    let database = Database::monolith().await;
    database
        .run(&format!(
            "insert into functions (id, name, runtime, code_key) \
             select '00000000-0000-4000-8000-' || lpad(n::text, 12, '0'), 'f' || n, 'x', 'k' from generate_series(0, 99) n; \
             insert into executions (id, function_id, status, created_at) \
             select gen_random_uuid(), '00000000-0000-4000-8000-' || lpad((n % 100)::text, 12, '0'), 'success', \
                    timestamp '2026-01-01' + n * interval '1 second' from generate_series(1, {ROWS}) n"
        ))
        .await;
    database.provide(&crate::database::mapping(crate::database::MINI_LAMBDA)).await;
    database
}

#[tokio::test]
async fn lookups_by_converted_columns_use_an_index() {
    let database = with_rows().await;
    let one = database.text("select id from executions limit 1").await;
    let queries = [
        format!("select * from lambda_service.invocations where id = '{one}'"),
        format!(
            "select * from lambda_service.invocations where function_id = '{FUNCTION}' order by created_at desc, id desc limit 50"
        ),
        "select * from lambda_service.functions order by created_at desc, id desc limit 100".to_owned(),
        format!("update lambda_service.invocations set status = 's' where id = '{one}'"),
        format!("delete from lambda_service.invocations where id = '{one}'"),
    ];
    for query in queries {
        let lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("explain {query}")))
            .fetch_all(&database.pool)
            .await
            .expect("it can be explained");
        let plan = lines.join("\n");
        let small_table = query.contains("from lambda_service.functions");
        assert!(
            small_table || (plan.contains("Index") && !plan.contains("Seq Scan") && !plan.contains("Sort")),
            "{plan}"
        );
    }
}

/// Measures rather than asserts a figure: machines differ, and what lasts is the ratio.
#[tokio::test]
async fn load_a_batch_through_the_view_costs_little_more_than_into_the_table() {
    let database = with_rows().await;
    let batch = |table: &str, id: &str| {
        format!(
            "insert into {table} (id, function_id, status, is_warm_start, duration_ms, memory_used_bytes) \
             select gen_random_uuid(){id}, '{FUNCTION}', 'success', true, 1, 1 from generate_series(1, 500)"
        )
    };
    let mut costs = Vec::new();
    for (table, id) in [("public.executions", "::text"), ("lambda_service.invocations", "")] {
        let sql = batch(table, id);
        let mut rounds = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            database.run(&sql).await;
            rounds.push(begun.elapsed().as_secs_f64() * 1e6 / 500.0);
        }
        rounds.sort_by(f64::total_cmp);
        costs.push(rounds[rounds.len() / 2]);
    }
    let (plain, view) = (costs[0], costs[1]);
    println!("insert of 500 rows: table {plain:.1} µs a row, view {view:.1} µs a row, ratio {:.2}", view / plain);
    assert!(view < plain * 10.0, "something is wrong by an order of magnitude");
}
