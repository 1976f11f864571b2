//! Every panel of every dashboard shows something: a real Prometheus reads all processes while there is load, and
//! answers each panel's query.

use std::{
    collections::BTreeMap,
    fs,
    io::{Cursor, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use local_servers::PortChoice;
use serde_json::{Value, json};
use testkit::{
    PrivateRedis,
    process::{Spawn, Spawned},
};

use super::{
    operator::Operator,
    site::{Site, System, answer, programs},
};

/// Rules over a minute have their values after as long; a loaded machine takes longer to bring them.
const PATIENCE: Duration = Duration::from_secs(180);

/// The processes that Prometheus reads, by the name of their address in the stack.
const JOBS: [(&str, &str); 4] = [
    ("gateway", "admin"),
    ("legacy", "legacy"),
    ("lambda-service", "lambda-service"),
    ("build-service", "build-service"),
];

/// What Grafana would put in the place of a dashboard's variables.
const VARIABLES: [(&str, &str); 3] = [("$__rate_interval", "20s"), ("$route", ".*"), ("$job", ".*")];

#[tokio::test]
async fn load_dashboards_show_data_in_every_panel() {
    let Some(program) = on_the_path("prometheus") else {
        println!("skipped: no prometheus on this machine; scripts/install brings it");
        return;
    };
    // Without a store of its own the cache of functions has no figures of one.
    let (site, redis) = (Site::guarded(), PrivateRedis::start().await);
    let kept = [("LAMBDA_SERVICE__CACHE__KIND", "redis"), ("LAMBDA_SERVICE__CACHE__REDIS__URL", &redis.url())];
    site.environment("lambda-service", &kept);
    let system = site.start().await;
    let slice = SyncedSlice::start(&system).await;
    let prometheus = Prometheus::start(program, &system, &slice).await;
    let operator = Operator::of(&system);
    for route in ["invoke", "function"] {
        operator.json(&["shadow", "set", route, "100", "--reason", "to be seen"]).await;
    }
    let functions = system.echoes(4).await;
    let failing =
        json!({"name": "fails", "runtime": "python3.11", "code": "def handler(e, c):\n    raise ValueError('no')\n"});
    let failing = system.create("gateway", &failing).await;
    operator.json(&["weight", "invoke", "50", "--reason", "to be seen"]).await;
    operator.json(&["weight", "function", "50", "--reason", "to be seen"]).await;
    // Ids are random: at 50 % alone, five functions are on one side once in sixteen runs.
    for route in ["invoke", "function"] {
        for (function, side) in functions.iter().zip(["legacy", "candidate"]) {
            operator.json(&["pin", route, function, side, "--reason", "to be seen"]).await;
        }
    }

    let mut waiting = queries();
    assert!(waiting.len() > 50, "the dashboards are there");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut round = 0;
    while !waiting.is_empty() {
        let shown = waiting.iter().map(|(panel, query)| format!("{panel}: {query}")).collect::<Vec<_>>().join("\n");
        assert!(tokio::time::Instant::now() < deadline, "nothing to be seen in:\n{shown}");
        for function in functions.iter().chain([&failing]) {
            traffic(&system, function).await;
        }
        starts(&system, round).await;
        builds(&system, round).await;
        slice.compare().await;
        round += 1;
        let mut empty = BTreeMap::new();
        for (panel, query) in waiting {
            if !prometheus.has_values(&query).await {
                empty.insert(panel, query);
            }
        }
        waiting = empty;
    }
    let stopped = slice.sync.terminate(PATIENCE).await;
    assert!(stopped.success(), "{}", slice.sync.log());
    system.stack.stop().await;
}

/// The slice of functions, kept in step in a database that nobody else uses.
struct SyncedSlice {
    sync: Spawned,
    urls: [(&'static str, String); 2],
}

impl SyncedSlice {
    async fn start(system: &System) -> Self {
        sqlx::raw_sql("create database synced").execute(&mut system.database().await).await.expect("a superuser may");
        let monolith = system.stack.urls()["database"].clone();
        let candidate = monolith.replace("/mini_lambda", "/synced");
        let urls = [("STRANGLER_DATABASE_URL", monolith), ("STRANGLER_TARGET_URL", candidate)];
        let port = PortChoice::Any.choose().expect("a free port");
        let mut sync = Spawned::of(programs().join("strangler"));
        for word in ["db", "sync", "functions", "--metrics", &format!("127.0.0.1:{port}"), "--mapping"] {
            sync = sync.arg(word);
        }
        for (name, url) in &urls {
            sync = sync.env(*name, url.as_str());
        }
        let sync = sync.arg(mapping()).port(port).ready_at("/metrics").start().await;
        Self { sync, urls }
    }

    /// Both sides are compared, as soon as the rows are there.
    async fn compare(&self) {
        let mut verify = tokio::process::Command::new(programs().join("strangler"));
        verify.args(["db", "verify", "functions", "--mapping"]).arg(mapping());
        for (name, url) in &self.urls {
            verify.env(name, url);
        }
        let _ = verify.stdin(std::process::Stdio::null()).output().await.expect("it was built");
    }
}

fn mapping() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mini-lambda/mapping.toml")
}

/// Prometheus with the repository's rules, reading every second.
struct Prometheus {
    server: Spawned,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    async fn start(program: PathBuf, system: &System, slice: &SyncedSlice) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let target = |address: &str| system.url(address, "").trim_start_matches("http://").to_owned();
        let jobs: Vec<Value> = JOBS
            .iter()
            .map(|(job, address)| (*job, target(address)))
            .chain([("migration", slice.sync.url("").trim_start_matches("http://").to_owned())])
            .map(|(job, target)| json!({"job_name": job, "static_configs": [{"targets": [target]}]}))
            .collect();
        // JSON is YAML.
        let settings = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"},
            "rule_files": [observability().join("prometheus/rules/*.yml")],
            "scrape_configs": jobs,
        });
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, settings.to_string()).expect("our own folder");
        let port = PortChoice::Any.choose().expect("a free port");
        let argument = |name: &str, value: &str| format!("--{name}={value}");
        let server: Spawn = Spawned::of(program)
            .arg(argument("config.file", file.to_str().expect("text")))
            .arg(argument("storage.tsdb.path", folder.path().join("data").to_str().expect("text")))
            .arg(argument("web.listen-address", &format!("127.0.0.1:{port}")))
            .arg("--enable-feature=exemplar-storage")
            .port(port)
            .ready_at("/-/ready");
        Self { server: server.start().await, client: super::site::client(), _folder: folder }
    }

    /// Whether the query gives a number, now.
    async fn has_values(&self, query: &str) -> bool {
        let (status, body) = answer(self.client.get(self.server.url("/api/v1/query")).query(&[("query", query)])).await;
        assert_eq!(status, 200, "{query}: {body}");
        let series = body["data"]["result"].as_array().cloned().unwrap_or_default();
        series.iter().any(|series| series["value"][1].as_str().is_some_and(|value| value != "NaN"))
    }
}

/// Every query for Prometheus, by dashboard, panel and letter.
fn queries() -> BTreeMap<String, String> {
    let mut queries = BTreeMap::new();
    for entry in fs::read_dir(observability().join("grafana/dashboards")).expect("the repository's own folder") {
        let path = entry.expect("the repository's own folder").path();
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&path).expect("readable")).expect("JSON");
        for panel in dashboard["panels"].as_array().expect("panels") {
            if panel["datasource"]["type"] != "prometheus" {
                continue;
            }
            for target in panel["targets"].as_array().expect("queries") {
                let name = format!("{} / {} {}", dashboard["title"], panel["title"], target["refId"]);
                let mut query = target["expr"].as_str().expect("an expression").to_owned();
                for (variable, value) in VARIABLES {
                    query = query.replace(variable, value);
                }
                queries.insert(name, query);
            }
        }
    }
    queries
}

async fn traffic(system: &System, function: &str) {
    let path = format!("/api/v1/functions/{function}");
    for call in [
        system.client.post(system.url("gateway", &format!("{path}/invoke"))).json(&json!({"n": 1})),
        system.client.get(system.url("gateway", &path)),
        system.client.get(system.url("gateway", "/api/v1/functions")),
        system.client.get(system.url("gateway", "/nowhere/at/all")),
    ] {
        let _ = answer(call).await;
    }
}

/// A function that has no worker yet.
async fn starts(system: &System, round: u32) {
    let body =
        json!({"name": format!("new-{round}"), "runtime": "python3.11", "code": "def handler(e, c):\n    return e\n"});
    let id = system.create("lambda-service", &body).await;
    let path = format!("/api/v1/functions/{id}/invoke");
    let _ = answer(system.client.post(system.url("lambda-service", &path)).json(&json!({}))).await;
}

/// One build that succeeds, one that fails, and a package that is none.
async fn builds(system: &System, round: u32) {
    for (name, source) in [("good", "def handler(event, context):\n    return 1\n"), ("bad", "def handler(:\n")] {
        let package = json!({
            "name": format!("{name}-{round}"), "runtime": "python3.11", "handler": "index.handler",
            "package_data": archive("index.py", source),
        });
        let _ = answer(system.client.post(system.url("gateway", "/functions")).json(&package)).await;
    }
    let none = json!({"name": "none", "runtime": "python3.11", "handler": "index.handler", "package_data": "AAAA"});
    let _ = answer(system.client.post(system.url("gateway", "/functions")).json(&none)).await;
}

fn archive(name: &str, content: &str) -> String {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file(name, zip::write::SimpleFileOptions::default()).expect("a new name");
    archive.write_all(content.as_bytes()).expect("memory");
    STANDARD.encode(archive.finish().expect("memory").into_inner())
}

fn observability() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../observability")
}

fn on_the_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}
