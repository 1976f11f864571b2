//! `db sync` as a process: watched, scraped, terminated and gone on with.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use testkit::{
    Answer, RecordedRequest, StubUpstream, TestDatabase, eventually,
    process::{Spawn, Spawned},
};

use super::{said, status_with, strangler};

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
        self.command("sync").arg("--metrics").arg("127.0.0.1:0").spawn().await
    }

    /// One that reports to the admin API at this address.
    async fn sync_telling(&self, admin: &str) -> Spawned {
        self.command("sync").arg("--report").env("STRANGLER_ADMIN", admin).env("STRANGLER_TOKEN", "t").spawn().await
    }

    fn command(&self, verb: &str) -> Spawn {
        Spawned::of(env!("CARGO_BIN_EXE_strangler"))
            .arg("db")
            .arg(verb)
            .arg("notes")
            .arg("--mapping")
            .arg(self.mapping())
            .env("STRANGLER_DATABASE_URL", &self.source.url)
            .env("STRANGLER_TARGET_URL", &self.target.url)
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
        let looker = self.command("status").arg("--metrics").arg("127.0.0.1:0").spawn().await;
        eventually(PATIENCE, async || looker.log().contains("/metrics")).await;
        looker
    }

    /// The exit status of a command that tells the admin API at this address.
    async fn tell(&self, words: &[&str], admin: &str) -> Option<i32> {
        let mut command = strangler(&["db"]);
        command.args(words).arg("--mapping").arg(self.mapping());
        command.env("STRANGLER_DATABASE_URL", &self.source.url).env("STRANGLER_TARGET_URL", &self.target.url);
        command.env("STRANGLER_ADMIN", admin).env("STRANGLER_TOKEN", "t");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        eprintln!("{words:?}: {}{}", said(&output.stdout), said(&output.stderr));
        output.status.code()
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

#[tokio::test]
async fn the_console_is_told_of_streams_and_comparisons_without_rows_and_a_deaf_one_stops_nothing() {
    let slice = Slice::new().await;
    run(&slice.source, "create table note (id int primary key, text varchar(50)); insert into note values (1, 'a')")
        .await;
    let gateway = StubUpstream::start(|request: &RecordedRequest| {
        let slice =
            json!({"name": "notes", "owner": "legacy", "stage": "synced", "candidate": "own", "routes": ["note"]});
        Answer::json(
            200,
            match request.path.as_str() {
                "/api/v1/status" => status_with(3, &[1, 2]).to_string(),
                "/api/v1/slices" => json!({"revision": 1, "slices": [slice]}).to_string(),
                _ => "{}".to_owned(),
            },
        )
    })
    .await;
    let admin = format!("http://{}", gateway.address());
    let last = |about: &str| {
        let path = format!("/api/v1/slices/notes/reports/{about}");
        let requests = gateway.requests();
        let of_it = requests.iter().rfind(|request| request.path == path && request.method == "PUT")?;
        Some(serde_json::from_slice::<Value>(&of_it.body).unwrap())
    };
    let sync = slice.sync_telling(&admin).await;
    eventually(PATIENCE, async || last("streams").is_some_and(|said| said["streams"][0]["stage"] == "streaming")).await;
    run(&slice.target, "alter table shop.note add check (text <> 'poison')").await;
    run(&slice.source, "insert into note values (3, 'poison')").await;
    eventually(PATIENCE, async || last("streams").is_some_and(|said| said["quarantine"][0]["row_key"][0] == "3")).await;
    let said = last("streams").unwrap();
    assert!(said["running"] == true && said["streams"][0]["slot"]["held_bytes"].is_u64(), "{said}");
    assert!(said["quarantine"][0].get("image").is_none(), "rows stay where they are: {said}");
    assert_eq!(slice.tell(&["cutover", "notes", "--plan"], &admin).await, Some(1));
    let plan = last("cutover").unwrap()["plan"].clone();
    assert!(plan["obstacles"].to_string().contains("could not be applied"), "{plan}");
    assert_eq!(slice.tell(&["verify", "notes", "--report"], &admin).await, Some(1), "a row is in quarantine");
    let said = last("verify").unwrap()["last"].clone();
    assert_eq!((&said["clean"], &said["differences"][0]["key"]), (&json!(false), &json!("{3}")), "{said}");
    assert!(sync.terminate(PATIENCE).await.success(), "{}", sync.log());
    assert_eq!(last("streams").unwrap()["running"], false);
    assert_eq!(slice.tell(&["retire", "notes", "--gateway"], &admin).await, Some(1), "it was used just now");

    // The console's own tests show it these; what they have must be what is said.
    let shown: Value = serde_json::from_str(include_str!("../../gateway/tests/browser/reports.json")).unwrap();
    for (about, shown) in shown.as_object().unwrap() {
        has_all_of(&last(about).unwrap_or_else(|| panic!("nothing was said of {about}")), shown, about);
    }

    // Port 1 of loopback: nobody listens there.
    let sync = slice.sync_telling("http://127.0.0.1:1").await;
    eventually(PATIENCE, async || sync.log().contains("the console is not told")).await;
    run(&slice.source, "insert into note values (5, 'e')").await;
    eventually(PATIENCE, async || slice.rows().await == 2).await;
    assert!(sync.terminate(PATIENCE).await.success(), "{}", sync.log());
    assert_eq!(sync.log().matches("the console is not told").count(), 1, "{}", sync.log());
}

/// Whether each name in what is shown is in what was said, as far as neither is empty.
fn has_all_of(said: &Value, shown: &Value, place: &str) {
    match (said, shown) {
        (Value::Object(said), Value::Object(shown)) => {
            for (name, shown) in shown {
                let place = format!("{place}.{name}");
                has_all_of(said.get(name).unwrap_or_else(|| panic!("{place} is not said: {said:?}")), shown, &place);
            }
        }
        (Value::Array(said), Value::Array(shown)) => {
            if let (Some(said), Some(shown)) = (said.first(), shown.first()) {
                has_all_of(said, shown, place);
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (said, shown) => {
            let same = std::mem::discriminant(said) == std::mem::discriminant(shown);
            assert!(same, "{place}: {said} is not of the kind of {shown}");
        }
    }
}
