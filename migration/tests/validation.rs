//! A mapping against both databases, before anything is done.

use migration::validate::{self, Report, Settings, Severity};
use sqlx::{AssertSqlSafe, PgPool};

use crate::database::{Database, mapping};

async fn look(source: &PgPool, target: &PgPool, text: &str) -> Report {
    validate::run(source, target, &mapping(text), "shop", &Settings::default())
        .await
        .unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

fn said(report: &Report, severity: Severity) -> Vec<String> {
    let of = report.remarks.iter().filter(|remark| remark.severity == severity);
    of.map(|remark| remark.finding.to_string()).collect()
}

/// Whether nothing would fail, whatever other tests do to the server they share: its slots and senders
/// may all be in use.
pub fn is_fit(report: &Report) -> bool {
    let crowded = |line: &String| line.contains(" replication slots of ") || line.contains(" WAL senders of ");
    said(report, Severity::Error).iter().all(crowded)
}

fn assert_said(report: &Report, severity: Severity, parts: &[&str]) {
    let all = said(report, severity);
    let found = all.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(found, "{severity:?} {parts:?} in {:#?}", report.remarks);
}

const ORDERS: &str = r#"
[targets.shop]
schema = "shop"
[targets.shop.tables.orders.columns]
id = { type = "uuid" }
at = { type = "timestamptz" }
[slices.shop]
target = "shop"
"#;

#[tokio::test]
async fn what_fits_is_not_spoken_of() {
    let source = Database::with(
        "create table orders (id varchar(50) primary key, at timestamp, total numeric);
         insert into orders select md5(n::text)::uuid::text, now(), n from generate_series(1, 100) n; analyze",
    )
    .await;
    let target = Database::with(
        "create schema shop; create table shop.orders (id uuid primary key, at timestamptz, total numeric check (total > 0))",
    )
    .await;
    let report = look(&source.pool, &target.pool, ORDERS).await;
    assert!(is_fit(&report), "{report:#?}");
    assert_eq!((report.tables, report.rows), (1, 100));
    assert_eq!(target.count("select count(*) from shop.orders").await, 0, "nothing stays");
    // Only what the test's servers are set up to: a slot may hold as much as it likes.
    let warnings = said(&report, Severity::Warning);
    let known = |line: &String| line.contains("max_slot_wal_keep_size") || line.starts_with("`target`: all ");
    assert!(warnings.iter().all(known), "{warnings:#?}");
}

#[tokio::test]
async fn rows_that_cannot_be_converted_or_written_are_named() {
    let source = Database::with(
        "create table orders (id varchar(50) primary key, at timestamp, total numeric);
         insert into orders select md5(n::text)::uuid::text, now(), n from generate_series(1, 50) n;
         insert into orders values ('it''s none', now(), 1), ('nor this', now(), 2);
         update orders set total = -7 where total = 7; update orders set total = null where total = 8",
    )
    .await;
    let target = Database::with(
        "create schema shop;
         create table shop.orders (id uuid primary key, at timestamptz, total numeric not null check (total > 0))",
    )
    .await;
    let report = look(&source.pool, &target.pool, ORDERS).await;
    let at = "targets.shop.tables.orders";
    assert_said(&report, Severity::Error, &[&format!("{at}.columns.id"), "(it's none)", "invalid input syntax"]);
    assert_said(&report, Severity::Error, &["(nor this)"]);
    let negative = source.text("select id from orders where total = -7").await;
    assert_said(&report, Severity::Error, &["the target refuses", &negative, "orders_total_check"]);
    let empty = source.text("select id from orders where total is null").await;
    assert_said(&report, Severity::Error, &["the target refuses", &empty, "null value"]);
    assert_eq!(report.rows, 48);
    assert!(!report.is_fit());

    // Left out by a filter, it needs no conversion.
    let filtered = format!("{ORDERS}filters = {{ orders = \"id ~ '^[0-9a-f-]{{36}}$' and total > 0\" }}\n");
    let report = look(&source.pool, &target.pool, &filtered).await;
    assert!(is_fit(&report) && report.rows == 48, "{report:#?}");
}

#[tokio::test]
async fn what_would_break_the_monolith_or_the_way_back_is_said() {
    let source = Database::with(
        "create table person (id int primary key);
         create table orders (id serial primary key, person int references person, kind text unique not null);
         create table line (orders int references orders, at timestamp);
         create table log (text text);
         create table note (id int primary key);
         alter table note replica identity nothing; alter table orders replica identity full;
         create unlogged table scratch (id int primary key);
         create function touch() returns trigger language plpgsql as 'begin return new; end';
         create trigger touch before update on orders for each row execute function touch()",
    )
    .await;
    let target = Database::with(
        "create schema shop; create table shop.orders (id int primary key, person int, kind text not null);
         create table shop.note (id int primary key);
         create function touch() returns trigger language plpgsql as 'begin return new; end';
         create trigger quiet before insert on shop.orders for each row execute function touch();
         create trigger loud before insert on shop.note for each row execute function touch();
         alter table shop.note enable always trigger loud",
    )
    .await;
    let text = r#"
[targets.shop]
schema = "shop"
[targets.shop.tables.orders]
[targets.shop.tables.log]
[targets.shop.tables.note]
[targets.shop.tables.scratch]
[slices.shop]
target = "shop"
cut = { orders = ["no_such_key"] }
"#;
    let report = look(&source.pool, &target.pool, text).await;
    assert_said(&report, Severity::Error, &["`public.log` has no replica identity", "REPLICA IDENTITY FULL"]);
    assert_said(&report, Severity::Error, &["`public.note` has no replica identity"]);
    assert_said(&report, Severity::Error, &["unlogged", "SET LOGGED"]);
    assert_said(&report, Severity::Error, &["the trigger `loud`", "ENABLE TRIGGER"]);
    assert_said(&report, Severity::Error, &["no foreign key `no_such_key`", "it has orders_person_fkey"]);
    assert_said(&report, Severity::Warning, &["`orders_person_fkey` refers to `person`", "cut.orders"]);
    assert_said(&report, Severity::Warning, &["`line` stays with the monolith"]);
    assert_said(&report, Severity::Warning, &["`public.log` has no key"]);
    assert_said(&report, Severity::Warning, &["numbers `id` by a sequence", "AS IDENTITY"]);
    assert_said(&report, Severity::Note, &["the monolith's trigger `touch` does not move"]);
    assert_said(&report, Severity::Note, &["the trigger `quiet`", "does not fire"]);
    assert_said(&report, Severity::Note, &["writes the whole old row"]);
}

#[tokio::test]
async fn a_role_is_told_the_grants_that_it_lacks() {
    let source = Database::with("create table orders (id varchar(50) primary key, at timestamp)").await;
    let target =
        Database::with("create schema shop; create table shop.orders (id uuid primary key, at timestamptz)").await;
    let role = testkit::unique_name("poor");
    let (there, here) = (as_role(&source, &role, true).await, as_role(&target, &role, false).await);
    let report = look(&there, &here, ORDERS).await;
    let quoted = format!("\"{role}\"");
    assert_said(&report, Severity::Error, &[&format!("GRANT SELECT ON \"public\".\"orders\" TO {quoted}")]);
    assert_said(&report, Severity::Error, &[&format!("ALTER ROLE {quoted} REPLICATION")]);
    assert_said(&report, Severity::Error, &[&format!("GRANT USAGE ON SCHEMA \"shop\" TO {quoted}")]);
    assert_said(&report, Severity::Error, &["GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON \"shop\".\"orders\""]);
    assert_said(&report, Severity::Error, &["GRANT CREATE ON DATABASE"]);
    assert_said(&report, Severity::Warning, &["only the owner of `public.orders`"]);
    assert_said(&report, Severity::Warning, &["GRANT EXECUTE ON FUNCTION pg_replication_origin_create"]);

    // What it says is enough.
    for (database, severity) in [(&source, Severity::Error), (&target, Severity::Error)] {
        let side = if std::ptr::eq(database, &source) { "the monolith" } else { "the candidate" };
        for finding in report.remarks.iter().filter(|remark| remark.severity == severity).map(|remark| &remark.finding)
        {
            let of_target = finding.fix.contains("shop") || finding.fix.contains(&target.server.name);
            if of_target != (side == "the monolith") {
                database.run(&finding.fix).await;
            }
        }
    }
    let report = look(&there, &here, ORDERS).await;
    assert!(is_fit(&report), "{report:#?}");
    drop((there, here));
    for database in [&source, &target] {
        database.run(&format!("drop owned by {role}")).await;
    }
    source.run(&format!("drop role {role}")).await;
}

async fn as_role(database: &Database, role: &str, make: bool) -> PgPool {
    if make {
        database.run(&format!("create role {role} login password 'p'")).await;
    }
    let options: sqlx::postgres::PgConnectOptions = database.server.url.parse().expect("a URL");
    sqlx::postgres::PgPoolOptions::new()
        .max_connections(2)
        .connect_with(options.username(role).password("p"))
        .await
        .expect("the role may connect")
}

#[tokio::test]
async fn nothing_in_a_name_or_a_value_becomes_sql() {
    let source = Database::with(
        "create table orders (id text primary key, at timestamp, \"x'); drop table orders; --\" text);
         insert into orders values ($q$'); drop table orders; --$q$, now(), 'y')",
    )
    .await;
    let target = Database::with("").await;
    let report = look(&source.pool, &target.pool, ORDERS).await;
    assert_said(&report, Severity::Error, &["drop table orders", "cannot be converted"]);
    let there: i64 = sqlx::query_scalar(AssertSqlSafe("select count(*) from orders".to_owned()))
        .fetch_one(&source.pool)
        .await
        .expect("the table is still there");
    assert_eq!(there, 1);
}
