//! `db sync` as a process: watched, scraped, terminated and gone on with.

use std::{fs, time::Duration};

use serde_json::Value;
use testkit::{TestDatabase, eventually, process::Spawned};

use super::{said, strangler};

const MAPPING: &str = "
[targets.shop]
schema = \"shop\"
[targets.shop.tables.note]
[slices.notes]
target = \"shop\"
";

const PATIENCE: Duration = Duration::from_secs(60);

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
        fs::write(slice.mapping(), MAPPING).unwrap();
        slice
    }

    fn mapping(&self) -> std::path::PathBuf {
        self.folder.path().join("mapping.toml")
    }

    async fn sync(&self) -> Spawned {
        self.spawn("sync").await
    }

    async fn spawn(&self, verb: &str) -> Spawned {
        Spawned::of(env!("CARGO_BIN_EXE_strangler"))
            .arg("db")
            .arg(verb)
            .arg("notes")
            .arg("--mapping")
            .arg(self.mapping())
            .arg("--metrics")
            .arg("127.0.0.1:0")
            .env("STRANGLER_DATABASE_URL", &self.source.url)
            .env("STRANGLER_TARGET_URL", &self.target.url)
            .spawn()
            .await
    }

    /// What a command says as JSON.
    async fn ask(&self, words: &[&str]) -> Value {
        let mut command = strangler(&["--output", "json", "db"]);
        command.args(words).arg("--mapping").arg(self.mapping());
        command.env("STRANGLER_DATABASE_URL", &self.source.url).env("STRANGLER_TARGET_URL", &self.target.url);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output.stderr)))
    }

    /// One that looks only, and serves metrics.
    async fn looker(&self) -> Spawned {
        let looker = self.spawn("status").await;
        eventually(PATIENCE, async || looker.log().contains("/metrics")).await;
        looker
    }

    async fn in_stage(&self, stage: &str) {
        eventually(PATIENCE, async || self.ask(&["status", "notes"]).await[0]["stage"] == stage).await;
    }

    async fn rows(&self) -> i64 {
        sqlx::query_scalar("select count(*) from shop.note").fetch_one(&self.target.pool().await).await.unwrap_or(-1)
    }
}

async fn run(database: &TestDatabase, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&database.pool().await).await.unwrap();
}

#[tokio::test]
async fn a_slice_is_kept_in_step_until_the_process_is_told_to_stop_and_goes_on_afterwards() {
    let slice = Slice::new().await;
    run(&slice.source, "create table note (id int primary key, text varchar(50)); insert into note values (1, 'a')")
        .await;
    let sync = slice.sync().await;
    slice.in_stage("streaming").await;
    run(&slice.source, "insert into note values (2, 'b')").await;
    eventually(PATIENCE, async || slice.rows().await == 2).await;

    let log = sync.log();
    let (_, address) = log.split_once("metrics at ").expect("it says where its metrics are");
    let address = address.split_whitespace().next().expect("an address");
    let metrics = reqwest::get(address).await.unwrap().text().await.unwrap();
    let stage = "strangler_stream_stage{slice=\"notes\",direction=\"forward\",stage=\"streaming\"} 1";
    assert!(metrics.contains(stage) && metrics.contains("strangler_stream_wal_held_bytes{"), "{metrics}");
    assert_eq!(reqwest::get(address.replace("/metrics", "/other")).await.unwrap().status(), 404);

    // What the candidate cannot hold is listed with its reason, and blocks nothing else.
    run(&slice.target, "alter table shop.note add check (text <> 'poison')").await;
    run(&slice.source, "insert into note values (3, 'poison')").await;
    run(&slice.source, "insert into note values (4, 'd')").await;
    eventually(PATIENCE, async || slice.rows().await == 3).await;
    let held = slice.ask(&["quarantine", "list", "notes"]).await;
    assert_eq!((&held[0]["sqlstate"], &held[0]["row_key"][0]), (&Value::from("23514"), &Value::from("3")));
    run(&slice.target, "alter table shop.note drop constraint note_text_check").await;
    assert_eq!(slice.ask(&["quarantine", "retry", "notes", "--all"]).await["asked"], 1);
    eventually(PATIENCE, async || slice.rows().await == 4).await;

    assert_eq!(slice.ask(&["verify", "notes"]).await["rows"], 4);
    let metrics = reqwest::get(address).await.unwrap().text().await.unwrap();
    for expected in [
        "strangler_verify_rows{slice=\"notes\"} 4",
        "strangler_verify_differences{slice=\"notes\"} 0",
        "strangler_stream_slot_lost{slice=\"notes\",direction=\"forward\"} 0",
        "strangler_copy_paused{slice=\"notes\"} 0",
    ] {
        assert!(metrics.contains(expected), "{expected}: {metrics}");
    }

    let status = sync.terminate(PATIENCE).await;
    assert!(status.success(), "{}", sync.log());
    run(&slice.source, "delete from note where id < 3").await;
    let sync = slice.sync().await;
    eventually(PATIENCE, async || slice.rows().await == 2).await;
    sync.kill().await;
    let sync = slice.sync().await;
    run(&slice.source, "insert into note values (9, 'i')").await;
    eventually(PATIENCE, async || slice.rows().await == 3).await;
    assert!(sync.terminate(PATIENCE).await.success(), "{}", sync.log());
}

#[tokio::test]
async fn a_slot_that_is_gone_is_measured_by_who_only_looks() {
    let slice = Slice::new().await;
    run(&slice.source, "create table note (id int primary key, text text)").await;
    let sync = slice.sync().await;
    slice.in_stage("streaming").await;
    assert!(sync.terminate(PATIENCE).await.success(), "{}", sync.log());
    let looker = slice.looker().await;
    let log = looker.log();
    let (_, address) = log.split_once("metrics at ").expect("it says where its metrics are");
    let address = address.split_whitespace().next().expect("an address");
    let measured = async |expected: &str| reqwest::get(address).await.unwrap().text().await.unwrap().contains(expected);
    assert!(measured("strangler_stream_slot_lost{slice=\"notes\",direction=\"forward\"} 0").await);
    assert!(!measured("strangler_copy_paused{").await, "the copy is another process's");
    // Until the server has noticed that nobody reads it any more, it refuses.
    let drop =
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()";
    let source = slice.source.pool().await;
    eventually(PATIENCE, async || sqlx::raw_sql(drop).execute(&source).await.is_ok()).await;
    assert!(measured("strangler_stream_slot_lost{slice=\"notes\",direction=\"forward\"} 1").await);
    assert!(looker.terminate(PATIENCE).await.success(), "{}", looker.log());
}
