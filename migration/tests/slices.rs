//! Mapping and two databases joined: what every later stage works from.

use migration::{
    Mapping,
    slice::{SliceError, SlicePlan, read_plan},
};

use crate::database::{Database, mapping, mini_lambda_tables};

/// The lambda service's own tables.
const LAMBDA_SERVICE: &str =
    include_str!("../../services/lambda-service/migrations/0001_functions_and_invocations.sql");

const SLICE: &str = "
[slices.invocations]
target = \"lambda-service\"
schema = \"public\"
tables = [\"invocations\", \"functions\"]
filters = { functions = \"runtime <> 'none'\" }
";

async fn plan(source: &Database, target: &Database, mapping: &Mapping, slice: &str) -> Result<SlicePlan, SliceError> {
    let mut source = source.pool.acquire().await.expect("a connection");
    let mut target = target.pool.acquire().await.expect("a connection");
    read_plan(&mut source, &mut target, mapping, slice).await
}

/// Every expression, a line each.
fn shown(plan: &SlicePlan) -> String {
    let mut lines = Vec::new();
    for table in &plan.tables {
        let keys: Vec<String> = table.identity.iter().map(|key| format!("{} = {}", key.source, key.target)).collect();
        lines.push(format!(
            "{} -> {}, key ({}), filter {}, binary {}, missing {}",
            table.source,
            table.target,
            keys.join(", "),
            table.filter.as_deref().unwrap_or("none"),
            table.is_binary(),
            table.missing
        ));
        lines.extend(table.columns.iter().map(|column| {
            let written = if column.written { "" } else { ", not written" };
            format!("  {} {}: {} | {}{written}", column.name, column.declared_type, column.forward, column.select)
        }));
        let backward = table.backward.iter().map(|column| format!("  back {}: {}", column.name, column.expression));
        lines.extend(backward);
    }
    lines.join("\n")
}

#[tokio::test]
async fn mini_lambda_moves_by_these_expressions() {
    let (source, target) = (Database::monolith().await, Database::with(LAMBDA_SERVICE).await);
    let plan = plan(&source, &target, &mapping(&format!("{}{SLICE}", mini_lambda_tables())), "invocations").await;
    insta::assert_snapshot!(shown(&plan.unwrap_or_else(|error| panic!("{error}"))));
}

#[tokio::test]
async fn types_that_only_one_side_knows_travel_as_what_both_know() {
    let source = Database::with(
        "create type mood as enum ('calm', 'loud'); create domain cents as bigint check (value >= 0);
         create table album (
             no serial primary key, title varchar(100) not null, length int generated always as (length(title)) stored,
             price cents not null, mood mood, moods mood[], kind text, sold numeric, at timestamp
         );
         create table note (at timestamp, text text);",
    )
    .await;
    let target = Database::with(
        "create schema shop; set search_path = shop; create type mood as enum ('calm', 'loud', 'new');
         create type kind as enum ('lp', 'single');
         create table album (
             no bigint primary key, title text not null, length int not null, price bigint not null, mood mood,
             moods mood[], kind kind, sold numeric(10,2), at timestamptz(3), doubled bigint generated always as (price * 2) stored
         );",
    )
    .await;
    let mapping = mapping(
        r#"
[targets.shop]
schema = "shop"
[targets.shop.tables.album.columns]
kind = { type = "kind" }
sold = { type = "numeric(10,2)" }
at = { type = "timestamptz(3)", time_zone = "Europe/Berlin" }
doubled = { read = "price * 2", type = "bigint" }
[targets.shop.tables.notes]
from = "note"
[slices.shop]
target = "shop"
"#,
    );
    let plan = plan(&source, &target, &mapping, "shop").await;
    insta::assert_snapshot!(shown(&plan.unwrap_or_else(|error| panic!("{error}"))));
}

#[tokio::test]
async fn what_does_not_fit_both_databases_is_said_at_once() {
    let source = Database::with(
        "create table orders (id text primary key, total numeric, at timestamp, extra int); create table loose (a int);",
    )
    .await;
    let target = Database::with(
        "create schema shop; create table shop.orders (id text, total numeric(10,2), at timestamptz, region text not null);",
    )
    .await;
    let text = "[targets.shop]\nschema = \"shop\"\n[targets.shop.tables.orders]\n[targets.shop.tables.gone]\n\
                [targets.shop.tables.loose.columns]\nb = { read = \"a + 1\" }\n[slices.shop]\ntarget = \"shop\"\n";
    let error = plan(&source, &target, &mapping(text), "shop").await.expect_err("it does not fit");
    insta::assert_snapshot!(error);
    let error = plan(&source, &target, &mapping(text), "shops").await.expect_err("there is no such slice");
    assert_eq!(error.to_string(), "the mapping has no slice `shops`; it has: shop");
}

#[tokio::test]
async fn one_table_may_become_two_and_referred_rows_come_first() {
    let source = Database::with(
        "create table c (id int primary key, name text, street text); create table a (id int primary key, c int references c);",
    )
    .await;
    let target = Database::with("").await;
    let mapping = mapping(
        r#"
[targets.shop]
schema = "shop"
[targets.shop.tables.a]
[targets.shop.tables.address]
from = "c"
drop = ["name"]
[targets.shop.tables.customer]
from = "c"
drop = ["street"]
[slices.shop]
target = "shop"
"#,
    );
    let plan = plan(&source, &target, &mapping, "shop").await.unwrap_or_else(|error| panic!("{error}"));
    let order: Vec<&str> = plan.tables.iter().map(|table| table.target.name.as_str()).collect();
    assert_eq!(order, ["address", "customer", "a"]);
    assert_eq!(plan.missing().count(), 3);
}
