//! Whether the monolith's tables are still used.

use migration::{
    retire::{self, Report, RouteTraffic},
    slice::{SlicePlan, read_plan},
};

use sqlx::AssertSqlSafe;

use crate::database::{Database, mapping};

const SHOP: &str = r#"
[targets.shop]
schema = "shop"
[targets.shop.tables.orders]
drop = ["node"]
[targets.shop.tables.lines]
[slices.shop]
target = "shop"
"#;

async fn databases() -> (Database, Database, SlicePlan) {
    let source = Database::with(
        "create table orders (id int primary key, total numeric, node text default 'a');
         create table lines (id int primary key, orders int references orders);
         create table audit (id int primary key, orders int references orders);
         create view report as select o.id, count(*) as lines from orders o join lines l on l.orders = o.id group by o.id;
         create materialized view totals as select sum(total) from orders;
         create view above as select * from report;
         create publication sales for table orders",
    )
    .await;
    let target = Database::with("").await;
    let plan = read_plan(
        &mut source.pool.acquire().await.expect("a connection"),
        &mut target.pool.acquire().await.expect("a connection"),
        &mapping(SHOP),
        "shop",
    )
    .await
    .unwrap_or_else(|error| panic!("{error}"));
    (source, target, plan)
}

async fn look(source: &Database, target: &Database, plan: &SlicePlan, requests: u64) -> Report {
    let routes = [RouteTraffic { route: "orders".to_owned(), requests }];
    retire::look(&source.pool, &target.pool, plan, &routes, 30)
        .await
        .unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

/// Counters are published with a delay; a session's own at the end of its transaction when asked to.
async fn touch(source: &Database, sql: &str) {
    source.run(&format!("{sql}; select pg_stat_force_next_flush()")).await;
    source.run("select 1").await;
}

#[tokio::test]
async fn what_is_touched_between_two_looks_is_noted_and_quiet_days_count_from_it() {
    let (source, target, plan) = databases().await;
    let first = look(&source, &target, &plan, 7).await;
    assert!(!first.is_quiet(), "nobody knows yet: {first:?}");
    assert!(first.tables.iter().all(|table| table.read_at.is_none() && table.written_at.is_none()), "{first:?}");

    // As if the first look had been long ago.
    let long_ago = "update strangler.retire_table set first_look = now() - interval '40 days', \
                    last_look = now() - interval '40 days'; \
                    update strangler.retire_route set first_look = now() - interval '40 days'";
    target.run(long_ago).await;
    let quiet = look(&source, &target, &plan, 7).await;
    assert!(quiet.is_quiet(), "{quiet:?}");
    assert_eq!(quiet.tables[0].quiet_days, 40);

    touch(&source, "insert into orders values (1, 5)").await;
    testkit::eventually(std::time::Duration::from_secs(20), || async {
        look(&source, &target, &plan, 8).await.tables.iter().any(|table| table.written_at.is_some())
    })
    .await;
    let found = look(&source, &target, &plan, 8).await;
    let of = |name: &str| found.tables.iter().find(|table| table.table == name).expect("it was looked at");
    assert!(of("public.orders").written_at.is_some() && !of("public.orders").is_quiet, "{found:?}");
    assert_eq!(of("public.orders").quiet_days, 0);
    assert!(of("public.lines").is_quiet, "{found:?}");
    assert!(found.routes[0].seen_at.is_some() && !found.routes[0].is_quiet, "{found:?}");
    let lost: Vec<&str> = of("public.orders")
        .columns
        .iter()
        .filter(|column| !column.carried)
        .map(|column| column.column.as_str())
        .collect();
    assert_eq!(lost, ["node"]);
}

#[tokio::test]
async fn who_holds_a_table_is_named() {
    let (source, target, plan) = databases().await;
    let mut session = source.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("set application_name = 'nightly report'; select from lines")
        .execute(&mut *session)
        .await
        .expect("it reads");
    let found = look(&source, &target, &plan, 0).await;
    let lines = found.tables.iter().find(|table| table.table == "public.lines").expect("it was looked at");
    assert!(lines.users.iter().any(|user| user.application == "nightly report"), "{lines:?}");
    let orders = found.tables.iter().find(|table| table.table == "public.orders").expect("it was looked at");
    assert!(orders.users.is_empty(), "{orders:?}");
}

#[tokio::test]
async fn the_plan_drops_what_it_names_and_stops_at_what_it_does_not() {
    let (source, target, plan) = databases().await;
    let found = look(&source, &target, &plan, 0).await;
    let text = found.plan.to_string();
    insta::assert_snapshot!(text);
    // `above` depends on a view that depends on a table: it is not named, and stops everything.
    let mut session = source.pool.acquire().await.expect("a connection").detach();
    let refused = sqlx::raw_sql(AssertSqlSafe(text.clone())).execute(&mut session).await.expect_err("it is refused");
    assert_eq!(refused.as_database_error().and_then(|error| error.code()).as_deref(), Some("2BP01"), "{refused}");
    drop(session);
    source.run("drop view above").await;
    source.run(&text).await;
    assert_eq!(source.count("select count(*) from pg_class where relname in ('orders', 'lines')").await, 0);
    assert_eq!(source.count("select count(*) from pg_class where relname = 'audit'").await, 1);
}
