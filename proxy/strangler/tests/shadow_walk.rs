//! `strangler shadow …` against a running gateway: from the first copy to the difference that is ignored.

use std::{fs, path::Path, process::Output, time::Duration};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{
    Answer, RecordedRequest, StubUpstream, eventually, postgres,
    process::{Spawn, Spawned},
};

use crate::{said, strangler};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SECRET: &str = "Bearer a-secret-of-this-test";
const DEADLINE: Duration = Duration::from_secs(30);

/// Two servers of the same API, of which the candidate's prices are wrong, and a gateway before them.
struct Shop {
    legacy: StubUpstream,
    candidate: StubUpstream,
    gateway: Spawned,
    client: Client,
    folder: TempDir,
}

impl Shop {
    /// With lines added to the settings.
    async fn open(settings: &str) -> Self {
        let (legacy, candidate) = (side(5).await, side(6).await);
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("live")).unwrap();
        fs::write(folder.path().join("live/rollout.toml"), "[routes.item]\npercent = 0\n").unwrap();
        let config = format!(
            r#"
[http]
bind = "127.0.0.1:0"
[admin]
bind = "127.0.0.1:0"
token = "{TOKEN}"
[rollout]
file = "live/rollout.toml"
[access_log]
destination = "off"
[upstreams.legacy]
address = "{}"
[upstreams.candidate]
address = "{}"
[[routes]]
name = "item"
methods = ["GET"]
path = "/items/{{id}}"
key = "path:id"
legacy = "legacy"
candidate = "candidate"
[routes.shadow]
{settings}
"#,
            legacy.address(),
            candidate.address()
        );
        let file = folder.path().join("gateway.toml");
        fs::write(&file, config).unwrap();
        let gateway = gateway(&file).spawn().await;
        Self { legacy, candidate, gateway, client: Client::new(), folder }
    }

    /// Where the gateway listens by what it logs, once it does.
    async fn listens(&self, key: &str) -> String {
        let address = || {
            let log = self.gateway.log();
            let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let listening = entries.rev().find(|entry| entry["message"] == "listening")?;
            Some(format!("http://{}", listening[key].as_str()?))
        };
        eventually(DEADLINE, || async { address().is_some() }).await;
        address().unwrap()
    }

    async fn strangler(&self, arguments: &[&str]) -> Output {
        let mut command = strangler(arguments);
        command.env("STRANGLER_ADMIN", self.listens("admin_addr").await).env("STRANGLER_TOKEN", TOKEN);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// What a command that succeeds prints.
    async fn told(&self, arguments: &[&str]) -> String {
        let output = self.strangler(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", said(&output.stderr));
        said(&output.stdout)
    }

    async fn report(&self) -> Value {
        serde_json::from_str(&self.told(&["--output", "json", "shadow", "report", "--route", "item"]).await).unwrap()
    }

    async fn buy(&self, times: usize) {
        let url = format!("{}/items/7?colour=red", self.listens("addr").await);
        for _ in 0..times {
            let answer = self.client.get(&url).header("authorization", SECRET).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
    }

    /// Runs a case, and returns its exit status and what it printed.
    async fn run_case(&self, file: &Path, against: &StubUpstream) -> (Option<i32>, String) {
        let (address, header) = (format!("http://{}", against.address()), format!("authorization: {SECRET}"));
        let arguments =
            ["shadow", "run", file.to_str().unwrap(), "--against", address.as_str(), "--header", header.as_str()];
        let output = self.strangler(&arguments).await;
        (output.status.code(), said(&output.stdout) + &said(&output.stderr))
    }
}

fn gateway(config: &Path) -> Spawn {
    // Cargo puts the programs of a workspace into one folder.
    let program = Path::new(env!("CARGO_BIN_EXE_strangler")).with_file_name("gateway");
    Spawned::of(program).arg("--config").arg(config)
}

async fn side(price: u32) -> StubUpstream {
    StubUpstream::start(move |request: &RecordedRequest| {
        let known = request.headers.get("authorization").is_some_and(|value| value == SECRET);
        let body = json!({"id": "7", "lines": [{"price": price, "count": 1}], "refresh_token": SECRET});
        Answer::json(if known { 200 } else { 401 }, body.to_string())
    })
    .await
}

fn ignored(report: &Value) -> u64 {
    let outcomes = report["report"]["routes"][0]["outcomes"].as_array().unwrap().iter();
    outcomes.filter(|one| one["outcome"] == "ignored").map(|one| one["requests"].as_u64().unwrap()).sum()
}

async fn walks_from_the_first_copy_to_the_difference_that_is_ignored(settings: &str) {
    let mut shop = Shop::open(settings).await;
    shop.told(&["shadow", "set", "item", "100", "--reason", "to see", "--actor", "ada"]).await;
    shop.buy(5).await;
    eventually(DEADLINE, || async { shop.report().await["report"]["clusters"][0]["count"] == 5 }).await;
    let report = shop.report().await;
    assert_eq!(report["report"]["routes"][0]["mismatch_rate"], 1.0, "{report}");
    let id = report["mismatches"][0]["id"].as_str().unwrap();
    let text = shop.told(&["shadow", "report"]).await;
    assert!(text.contains("$.lines[*].price") && text.contains("100.00 %") && text.contains(id), "{text}");

    let text = shop.told(&["shadow", "diff", id]).await;
    let line = text.lines().find(|line| line.contains("$.lines[0].price")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(" 5 ") && line.contains(" 6 ") && !text.contains("count"), "{text}");

    let case = shop.folder.path().join("case.json");
    shop.told(&["shadow", "export", id, "--to", case.to_str().unwrap()]).await;
    assert!(!fs::read_to_string(&case).unwrap().contains(SECRET));
    let (status, told) = shop.run_case(&case, &shop.legacy).await;
    assert_eq!(status, Some(0), "{told}");
    let (status, told) = shop.run_case(&case, &shop.candidate).await;
    assert!(status == Some(1) && told.contains("$.lines[0].price"), "{told}");

    let path = "$.lines[*].price";
    shop.told(&["shadow", "ignore", "item", path, "--reason", "another currency", "--actor", "ada"]).await;
    for _ in 0..2 {
        // The second time after a restart, which counts from nothing.
        shop.buy(1).await;
        eventually(DEADLINE, || async { ignored(&shop.report().await) == 1 }).await;
        let report = shop.report().await;
        assert_eq!(report["report"]["routes"][0]["ignored"], json!([path]), "{report}");
        assert_eq!(report["report"]["clusters"][0]["count"], 5, "{report}");
        shop.gateway.kill().await;
        shop.gateway = gateway(&shop.folder.path().join("gateway.toml")).spawn().await;
    }
    let history = shop.told(&["history"]).await;
    assert!(history.contains("another currency") && history.contains("ignore"), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_found_exported_and_ignored_with_a_folder_of_mismatches() {
    walks_from_the_first_copy_to_the_difference_that_is_ignored("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_found_exported_and_ignored_with_mismatches_in_postgres() {
    let database = postgres().await;
    let settings =
        format!("[shadow.mismatches]\nstore = \"postgres\"\n[rollout.postgres]\nurl = \"{}\"\n", database.url);
    walks_from_the_first_copy_to_the_difference_that_is_ignored(&settings).await;
}
