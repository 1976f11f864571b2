//! Plans over time: applied, applied again, changed, drifted, killed, removed.

use std::time::Duration;

use migration::shared::{self, Patience, SharedError};

use crate::database::{Database, MINI_LAMBDA, mapping};

const SHOP: &str = r#"
[targets.shop]
schema = "shop"
[targets.shop.tables.orders]
drop = ["note"]
[targets.shop.tables.orders.columns]
id = { type = "uuid" }
[targets.shop.tables.customers.columns]
full_name = { from = "name" }
"#;

const SHOP_TABLES: &str = "
create table customers (id bigint primary key generated always as identity, name text not null);
create table orders (id text primary key, customer_id bigint references customers, total numeric(10, 2), note text);
";

#[tokio::test]
async fn an_applied_plan_is_empty() {
    let database = Database::mini_lambda().await;
    let nothing: Vec<String> = Vec::new();
    assert_eq!(database.planned(&mapping(MINI_LAMBDA)).await, nothing);
}

#[tokio::test]
async fn a_plan_is_the_sql_with_its_reasons() {
    let database = Database::with(SHOP_TABLES).await;
    let plan = shared::plan(&database.pool, &mapping(SHOP)).await.expect("it fits");
    insta::assert_snapshot!(plan);
    assert_eq!(database.count("select count(*) from pg_namespace where nspname = 'shop'").await, 0, "nothing was done");
}

#[tokio::test]
async fn a_changed_mapping_changes_only_what_it_speaks_of() {
    let database = Database::with(SHOP_TABLES).await;
    database.provide(&mapping(SHOP)).await;
    let renamed = mapping(&SHOP.replace("full_name", "called"));
    assert_eq!(database.planned(&renamed).await, ["view shop.customers: the mapping changed"]);
    database.provide(&renamed).await;
    database.run("insert into shop.customers (called) values ('Ada')").await;
    let fewer = mapping(SHOP.split("[targets.shop.tables.customers").next().expect("the part before it"));
    assert_eq!(database.planned(&fewer).await, ["view shop.customers: the mapping does not have it any more"]);
    database.provide(&fewer).await;
    assert_eq!(database.text("select name from customers").await, "Ada");
    let text_ids = mapping(&SHOP.replace("id = { type = \"uuid\" }", ""));
    let planned = database.planned(&text_ids).await.join("\n");
    assert!(planned.contains("nothing looks rows up by it any more"), "{planned}");
}

#[tokio::test]
async fn drift_of_the_monoliths_tables_is_named() {
    let database = Database::with(SHOP_TABLES).await;
    let shop = mapping(SHOP);
    database.provide(&shop).await;
    database.run("alter table customers add column vip boolean not null default false").await;
    let planned = database.planned(&shop).await;
    assert_eq!(planned, ["view shop.customers: the monolith's table changed: `vip` (boolean) came"]);
    database.provide(&shop).await;
    assert_eq!(
        database.sqlstate("alter table customers drop column name").await,
        "2BP01",
        "the view stands in the way"
    );
    database.run("alter table customers rename column name to label").await;
    let findings = database.findings(&shop).await;
    assert!(findings.contains("has no column `name`"), "{findings}");
    assert!(findings.contains("since the view was made `name` (text) went, `label` (text) came"), "{findings}");
    database.run("alter table customers rename column label to name; drop view shop.orders; alter table orders alter total type float8").await;
    assert_eq!(database.planned(&shop).await, ["view shop.orders: it is not there"]);
    database.provide(&shop).await;
}

#[tokio::test]
async fn a_change_by_hand_is_put_right() {
    let database = Database::with(SHOP_TABLES).await;
    let shop = mapping(SHOP);
    database.provide(&shop).await;
    database.run("alter view shop.orders alter column total set default 7").await;
    assert_eq!(database.planned(&shop).await, ["view shop.orders: somebody changed it by hand"]);
    database.provide(&shop).await;
    assert_eq!(database.planned(&shop).await, Vec::<String>::new());
}

#[tokio::test]
async fn applies_at_the_same_time_come_one_after_the_other() {
    let database = Database::monolith().await;
    let mapping = mapping(MINI_LAMBDA);
    let plan = shared::plan(&database.pool, &mapping).await.expect("it fits");
    let (a, b, c) = tokio::join!(
        shared::apply(&database.pool, &plan, Patience::default()),
        shared::apply(&database.pool, &plan, Patience::default()),
        shared::apply(&database.pool, &plan, Patience::default()),
    );
    let mut made = [a, b, c].map(|outcome| outcome.unwrap_or_else(|error| panic!("{error:?}")).len());
    made.sort_unstable();
    assert_eq!(made, [0, 0, plan.changes.len()]);
    assert_eq!(database.planned(&mapping).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_plan_from_before_a_change_is_refused() {
    let database = Database::with(SHOP_TABLES).await;
    let shop = mapping(SHOP);
    let plan = shared::plan(&database.pool, &shop).await.expect("it fits");
    database.run("alter table orders add column placed_at timestamp").await;
    let error = shared::apply(&database.pool, &plan, Patience::default()).await.expect_err("the plan is old");
    assert!(matches!(error, SharedError::Stale { .. }), "{error:?}");
    assert_eq!(database.count("select count(*) from pg_namespace where nspname = 'shop'").await, 0);
}

/// The backend is killed again and again at whatever it is doing; what is left is always something
/// that the next plan can finish.
#[tokio::test]
async fn kill_in_the_middle_leaves_what_the_next_plan_finishes() {
    let database = Database::monolith().await;
    let mapping = mapping(MINI_LAMBDA);
    let mut kills = 0;
    // Half of the delays are close together, where the work begins; the rest reach beyond its end.
    for delay_ms in [1, 3, 5, 8, 12, 16, 20, 25, 30, 40, 50, 65, 80, 100, 130, 170, 220, 300] {
        let plan = shared::plan(&database.pool, &mapping).await.expect("whatever was left fits");
        if plan.is_empty() {
            database.provide_nothing(&mapping).await;
        }
        let plan = shared::plan(&database.pool, &mapping).await.expect("whatever was left fits");
        let killer = async {
            // Not a wait for anything: the moment of the kill is what varies.
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            database
                .count(
                    "select count(pg_terminate_backend(a.pid)) from pg_stat_activity a join pg_locks l on l.pid = a.pid \
                     where l.locktype = 'advisory' and a.datname = current_database()",
                )
                .await
        };
        let (outcome, _) = tokio::join!(shared::apply(&database.pool, &plan, Patience::default()), killer);
        kills += usize::from(outcome.is_err());
        let views = database.count("select count(*) from pg_views where schemaname = 'lambda_service'").await;
        assert!(views == 0 || views == 7, "the views came whole or not at all: {views}");
    }
    assert!(kills > 3, "the kills must have hit something: {kills}");
    database.provide(&mapping).await;
    assert_eq!(database.planned(&mapping).await, Vec::<String>::new());
    assert_eq!(database.count("select count(*) from pg_index where not indisvalid").await, 0);
}

#[tokio::test]
async fn an_unfinished_index_is_rebuilt() {
    let database = Database::mini_lambda().await;
    database
        .run("update pg_index set indisvalid = false where indexrelid::regclass::text like 'lambda_service_functions_pkey%'")
        .await;
    let planned = database.planned(&mapping(MINI_LAMBDA)).await.join("\n");
    assert!(planned.contains("an earlier build of it did not finish"), "{planned}");
    database.provide(&mapping(MINI_LAMBDA)).await;
    assert_eq!(database.planned(&mapping(MINI_LAMBDA)).await, Vec::<String>::new());
}

#[tokio::test]
async fn removing_takes_away_what_was_made_and_nothing_else() {
    let database = Database::mini_lambda().await;
    let mapping = mapping(MINI_LAMBDA);
    let objects = "select count(*) from pg_class c where c.relnamespace = 'public'::regnamespace";
    let monolith = Database::monolith().await;
    database.run("insert into functions (id, name, runtime, code_key) values (gen_random_uuid(), 'f', 'x', 'k')").await;
    database.run("create table lambda_service.somebody_elses (id int)").await;
    database.provide_nothing(&mapping).await;
    assert_eq!(database.count(objects).await, monolith.count(objects).await);
    assert_eq!(database.count("select count(*) from functions").await, 1);
    assert_eq!(database.count("select count(*) from lambda_service.somebody_elses").await, 0, "it is still there");
    database.run("drop table lambda_service.somebody_elses").await;
    database.provide_nothing(&mapping).await;
    assert_eq!(database.count("select count(*) from pg_namespace where nspname = 'lambda_service'").await, 0);
    database.provide_nothing(&mapping).await;
}

impl Database {
    /// Removes the stage.
    async fn provide_nothing(&self, mapping: &migration::Mapping) {
        let plan = shared::removal(&self.pool, mapping).await.expect("the catalog can be read");
        shared::apply(&self.pool, &plan, Patience::default()).await.unwrap_or_else(|error| panic!("{error:?}"));
    }
}
