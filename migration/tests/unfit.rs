//! Mappings and rows that do not fit: everything is named before anything is made.

use crate::database::{Database, MINI_LAMBDA, mapping};

const TABLES: &str = "
create table orders (
    id text primary key, email text not null, needed int not null, placed timestamp, blob bytea, maybe text unique
);
create table loose (id text, name text);
";

async fn findings(tables: &str) -> String {
    let database = Database::with(TABLES).await;
    database.findings(&mapping(&format!("[targets.shop]\nschema = \"shop\"\n{tables}"))).await
}

#[tokio::test]
async fn everything_that_does_not_fit_is_said_at_once() {
    let text = findings(
        r#"
[targets.shop.tables.nowhere]
[targets.shop.tables.loose]
[targets.shop.tables.orders]
drop = ["needed", "nothing"]
identity = ["maybe"]
[targets.shop.tables.orders.columns]
mail = { from = "e_mail" }
placed = { type = "point_in_time" }
twice = { from = "id" }
again = { from = "id" }
"#,
    )
    .await;
    for expected in [
        "`targets.shop.tables.nowhere`: there is no table `public.nowhere`",
        "nothing in the database keeps () unique in `loose`",
        "the table `public.orders` has no column `nothing`",
        "the table `public.orders` has no column `e_mail`",
        "there is no type `point_in_time`",
        "`orders.needed` must have a value, and the view cannot give it one",
        "`orders.maybe` may be null",
        "the column `id` is also dropped, written by an expression or carried elsewhere",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
}

#[tokio::test]
async fn expressions_are_tried_before_they_are_used() {
    let text = findings(
        r#"
[targets.shop.tables.orders.columns]
blob = { type = "uuid" }
two = { read = "1) as a, (2" }
unknown = { read = "no_such_column + 1" }
"#,
    )
    .await;
    for expected in ["cannot cast type bytea to uuid", "columns.two`: it is more than one expression", "no_such_column"]
    {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
    let text = findings("[targets.shop.tables.orders.write]\nneeded = \"no_such_column\"\n").await;
    assert!(text.contains("orders.write.needed`"), "{text}");
}

#[tokio::test]
async fn rows_the_candidate_could_not_read_are_counted_and_shown() {
    let database = Database::monolith().await;
    database
        .run(
            "insert into functions (id, name, runtime, code_key) values \
             ('one', 'a', 'x', 'k'), ('two', 'b', 'x', 'k'), (gen_random_uuid(), 'c', 'x', 'k')",
        )
        .await;
    let text = database.findings(&mapping(MINI_LAMBDA)).await;
    assert!(text.contains("2 rows of `public.functions` have a `id` that cannot be read as the new type"), "{text}");
    assert!(text.contains("\"one\", \"two\""), "{text}");
    assert_eq!(database.count("select count(*) from pg_namespace where nspname = 'lambda_service'").await, 0);
}

#[tokio::test]
async fn keys_in_another_spelling_are_counted() {
    let database = Database::monolith().await;
    database
        .run("insert into functions (id, name, runtime, code_key) values (upper('018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f'), 'a', 'x', 'k')")
        .await;
    let text = database.findings(&mapping(MINI_LAMBDA)).await;
    assert!(text.contains("1 rows of `public.functions` spell `id` otherwise"), "{text}");
}

#[tokio::test]
async fn a_table_of_somebody_else_in_the_way_is_left_alone() {
    let database = Database::monolith().await;
    database.run("create schema lambda_service; create table lambda_service.webhooks (id int)").await;
    let text = database.findings(&mapping(MINI_LAMBDA)).await;
    assert!(text.contains("`lambda_service.webhooks` is there already and was not made by this stage"), "{text}");
}
