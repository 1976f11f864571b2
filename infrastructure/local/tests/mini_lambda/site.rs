//! A place for a Mini-Lambda stack, and the stack that runs there.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use local_stack::{RunningStack, Signal, Stack, StackOptions, StackSource};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use testkit::eventually;
use toml_edit::{Array, DocumentMut, Table, value};

/// Longer than anything may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The parts whose logs a failed test shows, and how much of each.
const LOGS: [&str; 4] = ["legacy", "lambda-service", "gateway", "postgres"];
const LOG_TAIL_LINES: usize = 40;

/// The processes that have a pool of connections, and how the names of their settings begin.
const POOLED: [(&str, &str); 4] = [
    ("legacy", "LEGACY"),
    ("lambda-service", "LAMBDA_SERVICE"),
    ("lambda-service-own", "LAMBDA_SERVICE"),
    ("build-service", "BUILD_SERVICE"),
];

/// A side of a route, as `x-served-by` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Legacy,
    Candidate,
}

impl Side {
    /// The side that an answer of the gateway names; none when the gateway answered itself.
    pub fn of(response: &reqwest::Response) -> Option<Self> {
        match response.headers().get("x-served-by")?.to_str() {
            Ok("legacy") => Some(Self::Legacy),
            Ok("candidate") => Some(Self::Candidate),
            other => panic!("x-served-by: {other:?}"),
        }
    }
}

/// The folder of the programs under test: tests are in `PROFILE/deps`, binaries in `PROFILE`.
pub fn programs() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(2).expect("tests are in PROFILE/deps").to_path_buf()
}

/// The documents of Mini-Lambda, copied to a folder of the test's own, and a place for data.
pub struct Site {
    folder: Arc<TempDir>,
}

impl Site {
    /// As [`Site::guarded`], and percentages that stay where they are put, whatever is killed. What the guard
    /// does has tests of its own.
    pub fn new() -> Self {
        let site = Self::guarded();
        site.edit("gateway.toml", |document| {
            let routes = document["routes"].as_array_of_tables_mut().expect("it has routes");
            for route in routes.iter_mut() {
                route.remove("guard");
                route.remove("ramp");
            }
        });
        site
    }

    /// The documents as they are but for what a test needs: the database's address, and a bus that tries
    /// again sooner.
    pub fn guarded() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // PostgreSQL's account has to pass.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
        let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("mini-lambda");
        for file in fs::read_dir(documents).expect("the crate's own folder") {
            let file = file.expect("the crate's own folder").path();
            fs::copy(&file, folder.path().join(file.file_name().expect("a file"))).expect("room for a copy");
        }
        let site = Self { folder: Arc::new(folder) };
        site.edit("stack.toml", |document| {
            document["urls"]["database"] = value("{postgres.url:mini_lambda}");
            document["urls"]["own-database"] = value("{postgres.url:lambda_service_db}");
        });
        site.environment(
            "legacy",
            &[("LEGACY__BUS__REDELIVERY_DELAY", "20ms"), ("LEGACY__BUS__IN_PROCESS__POLL_INTERVAL", "20ms")],
        );
        // A burst on an empty pool opens as many connections as it may, while interpreters are still warmed up:
        // on a machine at work that may take longer than a caller of a production system would wait.
        for (process, prefix) in POOLED {
            site.environment(process, &[(&format!("{prefix}__DATABASE__ACQUIRE_TIMEOUT"), "40s")]);
        }
        site
    }

    /// The monolith's answer is no substitute for the candidate's on this route.
    pub fn without_fallback(self, route: &str) -> Self {
        self.edit("gateway.toml", |document| {
            let routes = document["routes"].as_array_of_tables_mut().expect("it has routes");
            let route = routes.iter_mut().find(|table| table["name"].as_str() == Some(route));
            route.expect("a route of that name")["fallback"] = value(false);
        });
        self
    }

    /// Sets variables of one of the stack's processes.
    pub fn environment(&self, process: &str, variables: &[(&str, &str)]) {
        self.edit_process(process, |table| {
            for (name, text) in variables {
                table["env"][*name] = value(*text);
            }
        });
    }

    /// Starts one of the stack's processes with these arguments.
    pub fn arguments(&self, process: &str, arguments: &[&str]) {
        self.edit_process(process, |table| table["args"] = value(Array::from_iter(arguments.iter().copied())));
    }

    fn edit_process(&self, process: &str, change: impl FnOnce(&mut Table)) {
        self.edit("stack.toml", |document| {
            let processes = document["process"].as_array_of_tables_mut().expect("it has processes");
            let table = processes.iter_mut().find(|table| table["name"].as_str() == Some(process));
            change(table.expect("a process of that name"));
        });
    }

    /// Changes a document before it is read.
    pub fn edit(&self, file: &str, change: impl FnOnce(&mut DocumentMut)) {
        let path = self.folder.path().join(file);
        let mut document = fs::read_to_string(&path).expect("our own copy").parse().expect("it is TOML");
        change(&mut document);
        fs::write(path, document.to_string()).expect("our own copy");
    }

    /// The stack's document.
    pub fn document(&self) -> PathBuf {
        self.folder.path().join("stack.toml")
    }

    /// The stack's data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the stack; a second start, after a stop, is on the same data.
    pub async fn start(&self) -> System {
        let options = StackOptions {
            data_folder: Some(self.data()),
            programs: vec![programs()],
            ..StackOptions::new(StackSource::read(&self.document()).expect("the documents are valid"))
        };
        let stack = Stack::start(options).await.unwrap_or_else(|error| panic!("{error}"));
        let logs = LOGS.map(|part| (part, stack.log_of(part)));
        System { stack, client: client(), _last_words: LastWords(logs), _folder: Arc::clone(&self.folder) }
    }
}

/// A client that talks to the machine itself, and says the truth about redirects.
pub fn client() -> Client {
    let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE);
    client.tcp_nodelay(true).build().expect("a client without TLS")
}

/// A running Mini-Lambda.
pub struct System {
    pub stack: RunningStack,
    pub client: Client,
    _last_words: LastWords,
    /// As long as the stack runs in it.
    _folder: Arc<TempDir>,
}

impl System {
    /// The URL of `path` at the part that the document calls `part`.
    pub fn url(&self, part: &str, path: &str) -> String {
        format!("{}{path}", self.stack.urls()[part])
    }

    /// The token of the gateway's admin API.
    pub fn token(&self) -> &str {
        self.stack.secret("admin").expect("the document generates it")
    }

    /// Creates a function through `part` and gives its id.
    pub async fn create(&self, part: &str, body: &Value) -> String {
        let created = answer(self.client.post(self.url(part, "/api/v1/functions")).json(body)).await;
        assert_eq!(created.0, 201, "{created:?}");
        created.1["function_id"].as_str().expect("an id").to_owned()
    }

    /// Creates `count` functions that echo their event, in Python and Node by turns.
    pub async fn echoes(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for number in 0..count {
            let (runtime, code) = match number % 2 {
                0 => ("python3.11", "def handler(event, context):\n    return event\n"),
                _ => ("nodejs20", "const handler = (event) => event;"),
            };
            let body = json!({"name": format!("echo-{number}"), "runtime": runtime, "code": code});
            ids.push(self.create("gateway", &body).await);
        }
        ids
    }

    /// The side of a function's key, as its `GET` shows at the present weights.
    pub async fn side_of(&self, function: &str) -> Side {
        let path = format!("/api/v1/functions/{function}");
        let response = self.client.get(self.url("gateway", &path)).send().await.expect("the gateway answers");
        Side::of(&response).expect("a side served it")
    }

    /// Kills a part, and returns once the kernel has closed what it had open: the supervisor waits for
    /// it, and is told when its last thread is gone.
    pub async fn kill(&self, part: &str) {
        let process = self.stack.process(part).expect("a part of the document");
        let pid = process.pid().expect("it runs");
        process.kill(Signal::SIGKILL).expect("our own child");
        eventually(PATIENCE, || async { process.pid() != Some(pid) }).await;
    }

    /// A connection to the monolith's database.
    pub async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.stack.urls()["database"]).await.expect("PostgreSQL runs")
    }
}

/// The folder of a failed test is gone with it, so what its parts said last is shown.
struct LastWords([(&'static str, PathBuf); LOGS.len()]);

impl Drop for LastWords {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for (part, path) in &self.0 {
            let log = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with("{\"ts\"")).collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            eprintln!("--- end of {part}'s log\n{}", tail.join("\n"));
        }
    }
}

/// Whether a process is gone, or is but a zombie.
pub fn is_dead(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before it may hold anything.
    stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with(['Z', 'X']))
}

/// Status and JSON of an answer.
pub async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a whole answer");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
