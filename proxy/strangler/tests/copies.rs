//! `db copy` between two databases of a real server.

use std::fs;

use serde_json::Value;
use sqlx::Row as _;
use testkit::TestDatabase;

use super::{said, strangler};

const MAPPING: &str = r#"
[targets.orders]
schema = "orders"
[targets.orders.tables.orders.columns]
at = { type = "timestamptz" }
[slices.orders]
target = "orders"
"#;

struct Slice {
    source: TestDatabase,
    target: TestDatabase,
    folder: tempfile::TempDir,
}

impl Slice {
    async fn new() -> Self {
        let slice = Self {
            source: testkit::postgres().await,
            target: testkit::postgres().await,
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(slice.folder.path().join("mapping.toml"), MAPPING).unwrap();
        slice
    }

    async fn copy(&self, more: &[&str]) -> std::process::Output {
        self.ask("copy", more).await
    }

    async fn ask(&self, verb: &str, more: &[&str]) -> std::process::Output {
        let mut command = strangler(&["--output", "json", "db", verb, "orders", "--mapping"]);
        command.arg(self.folder.path().join("mapping.toml")).args(more);
        command.env("STRANGLER_DATABASE_URL", &self.source.url).env("STRANGLER_TARGET_URL", &self.target.url);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }
}

async fn run(database: &TestDatabase, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&database.pool().await).await.unwrap();
}

#[tokio::test]
async fn a_slice_is_copied_once_and_anew_when_asked_to() {
    let slice = Slice::new().await;
    run(
        &slice.source,
        "create table orders (id serial primary key, at timestamp not null default '2024-01-01', total numeric);
         insert into orders (total) select n / 7.0 from generate_series(1, 1000) n",
    )
    .await;
    let output = slice.copy(&["--readers", "2", "--chunk-mib", "1"]).await;
    assert!(output.status.success(), "{}", said(&output.stderr));
    let first: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&first["rows"], &first["earliest_lsn"]), (&Value::from(1000), &first["consistent_lsn"]));
    let row = sqlx::query("select count(*), pg_typeof(min(at))::text from orders.orders")
        .fetch_one(&slice.target.pool().await)
        .await
        .unwrap();
    assert_eq!((row.get::<i64, _>(0), row.get::<String, _>(1)), (1000, "timestamp with time zone".to_owned()));

    assert_eq!(slice.ask("verify", &[]).await.status.code(), Some(0));

    run(&slice.source, "delete from orders where id > 900").await;
    let output = slice.ask("verify", &["--max-differences", "2"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["differences"][1]["kind"], &found["truncated"]), (&Value::from("extra"), &Value::from(true)));
    let again: Value = serde_json::from_slice(&slice.copy(&[]).await.stdout).unwrap();
    assert_eq!((&again["rows"], &again["copied_chunks"]), (&Value::from(1000), &Value::from(0)));
    let anew: Value = serde_json::from_slice(&slice.copy(&["--start-over"]).await.stdout).unwrap();
    assert_eq!((&anew["rows"], &anew["copied_chunks"]), (&Value::from(900), &Value::from(1)));
}

#[tokio::test]
async fn what_does_not_fit_is_status_1_and_says_what_to_do() {
    let slice = Slice::new().await;
    run(&slice.source, "create table orders (id int primary key, at timestamp)").await;
    run(
        &slice.target,
        "create schema orders; create table orders.orders (id int primary key, at timestamptz);
         insert into orders.orders values (1)",
    )
    .await;
    let output = slice.copy(&[]).await;
    let error = said(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("holds rows already") && error.contains("append"), "{error}");
    let output = slice.copy(&["--start-over"]).await;
    assert!(output.status.success(), "{}", said(&output.stderr));

    let mapping = slice.folder.path().join("mapping.toml");
    fs::write(mapping, format!("{MAPPING}owner = \"append\"\n")).unwrap();
    assert_eq!(slice.copy(&["--start-over"]).await.status.code(), Some(2), "it would delete what is nobody else's");
}

#[tokio::test]
async fn a_mapping_is_drafted_checked_and_what_it_moved_is_looked_at() {
    let slice = Slice::new().await;
    run(
        &slice.source,
        "create table orders (id serial primary key, at timestamp not null default '2024-01-01', total numeric);
         insert into orders (total) select n from generate_series(1, 100) n",
    )
    .await;
    let mut command = strangler(&["db", "inspect", "--sample", "10"]);
    command.env("STRANGLER_DATABASE_URL", &slice.source.url);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", said(&output.stderr));
    let draft = said(&output.stdout);
    assert!(draft.contains("[targets.orders_service.tables.orders]"), "{draft}");
    let file = slice.folder.path().join("draft.toml");
    fs::write(&file, &draft).unwrap();
    let mut command = strangler(&["db", "plan", "--mapping"]);
    command.arg(&file).env("STRANGLER_DATABASE_URL", &slice.source.url);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", said(&output.stderr));

    let output = slice.ask("validate", &["--sample", "50"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["rows"], 50);

    assert!(slice.copy(&[]).await.status.success());
    let output = slice.ask("verify", &["--continuous", "--every", "1ms", "--rounds", "3"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    assert_eq!(said(&output.stdout).lines().count(), 3, "a document for each round");

    let output = slice.ask("retire", &["--quiet-days", "3"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "nobody has looked for three days: {report}");
    assert_eq!(report["plan"]["drops"][0], "DROP TABLE \"public\".\"orders\"");

    run(&slice.source, "alter table orders alter id type text using 'no' || id").await;
    let output = slice.ask("validate", &[]).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output.stdout));
}
