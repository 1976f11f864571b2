//! A gateway process, stub upstreams, and load.

mod any_certificate;
mod http2;
mod instance;
mod load;
mod patient;
mod raw_client;
mod raw_upstream;
mod stub;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

pub use any_certificate::AnyCertificate;
pub use http2::{END_HEADERS, END_STREAM, Frames, StreamEnd, connect_http2, exchange_http2, read_http2};
pub use instance::{Behaviour, Instance, Wire};
pub use load::{Load, Sample};
pub use patient::Patient;
pub use raw_client::RawClient;
pub use raw_upstream::{Exchange, RawUpstream};
pub use stub::{Seen, Stub};

/// Runs what blocks beside the test's runtime.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const DEADLINE: Duration = Duration::from_secs(20);

/// Two routes over two stubs: `invoke`, which can move, and a catch-all on legacy.
pub struct Setup {
    pub legacy: Stub,
    pub candidate: Stub,
    pub gateway: Gateway,
}

impl Setup {
    pub fn start() -> Self {
        Self::with("fallback = true", "", "")
    }

    /// With lines added to the `invoke` route, to `[http]`, and a rollout document.
    pub fn with(route: &str, http: &str, rollout: &str) -> Self {
        let (legacy, candidate) = (Stub::start("legacy"), Stub::start("candidate"));
        let config = config(legacy.address, candidate.address, route, http);
        let gateway = Gateway::start(&config, rollout);
        Self { legacy, candidate, gateway }
    }
}

pub fn config(legacy: SocketAddr, candidate: SocketAddr, route: &str, http: &str) -> String {
    format!(
        r#"
[http]
bind = "127.0.0.1:0"
drain_deadline = "10s"
{http}
[admin]
bind = "127.0.0.1:0"
token = "{TOKEN}"
[upgrade]
pid_file = "gateway.pid"
[rollout]
file = "live/rollout.toml"
poll_interval = "100ms"
[access_log]
destination = "file"
file = "access.log"
[upstreams.legacy]
address = "{legacy}"
health_interval = "50ms"
[upstreams.candidate]
address = "{candidate}"
health_interval = "50ms"
[[routes]]
name = "invoke"
methods = ["POST"]
path = "/f/{{id}}/invoke"
key = "path:id"
legacy = "legacy"
candidate = "candidate"
{route}
[[routes]]
name = "rest"
path = "/files/{{*rest}}"
legacy = "legacy"
"#
    )
}

/// A running gateway. Dropping it kills it.
pub struct Gateway {
    child: Child,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub folder: TempDir,
    pub client: Client,
    log: Arc<Mutex<String>>,
}

impl Gateway {
    pub fn start(config: &str, rollout: &str) -> Self {
        Self::start_with_files(config, rollout, &[])
    }

    /// With files of these names beside the configuration.
    pub fn start_with_files(config: &str, rollout: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        fs::write(folder.path().join("gateway.toml"), config).unwrap();
        fs::create_dir(folder.path().join("live")).unwrap();
        if !rollout.is_empty() {
            fs::write(folder.path().join("live/rollout.toml"), rollout).unwrap();
        }
        let (child, http, admin, log) = spawn(folder.path());
        Self { child, http, admin, folder, client: Client::new(), log }
    }

    /// Kills it without a warning and starts it again on the same files.
    pub fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.http, self.admin, self.log) = spawn(self.folder.path());
    }

    pub fn rollout_path(&self) -> PathBuf {
        self.folder.path().join("live/rollout.toml")
    }

    pub fn rollout(&self) -> String {
        fs::read_to_string(self.rollout_path()).unwrap_or_default()
    }

    /// Writes the document as an editor does: a new file in place of the old one.
    pub fn edit_rollout(&self, text: &str) {
        let new = self.folder.path().join("live/.rollout.toml.swp");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.rollout_path()).unwrap();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub async fn invoke(&self, key: &str) -> Response {
        self.client.post(self.url(&format!("/f/{key}/invoke"))).body("{}").send().await.unwrap()
    }

    /// The status of a `GET` on the route of the upstream tests.
    pub async fn invoke_get(&self, key: &str) -> u16 {
        self.client.get(self.url(&format!("/f/{key}"))).send().await.unwrap().status().as_u16()
    }

    /// The side that serves this key.
    pub async fn side_of(&self, key: &str) -> String {
        let answer = self.invoke(key).await;
        assert_eq!(answer.status(), 200);
        answer.headers()["x-served-by"].to_str().unwrap().to_owned()
    }

    pub async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.client.request(method, format!("http://{}{path}", self.admin)).bearer_auth(TOKEN);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub async fn set_weight(&self, percent: f64) -> Value {
        let body = json!({ "percent": percent, "reason": "a test", "actor": "tester" });
        let (status, answer) = self.admin(Method::PUT, "/api/v1/routes/invoke/weight", Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    pub async fn status(&self) -> Value {
        self.admin(Method::GET, "/api/v1/status", None).await.1
    }

    /// What the status says about the route `invoke`.
    pub async fn route_status(&self) -> Value {
        self.status().await["routes"][0].clone()
    }

    pub async fn metrics(&self) -> String {
        let answer = self.client.get(format!("http://{}/metrics", self.admin)).send().await.unwrap();
        answer.text().await.unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The process that serves: the one that was started, or its latest successor.
    pub fn pid(&self) -> Pid {
        let text = fs::read_to_string(self.folder.path().join("gateway.pid")).unwrap_or_default();
        let started = || i32::try_from(self.child.id()).unwrap();
        Pid::from_raw(text.trim().parse().unwrap_or_else(|_| started()))
    }

    /// What the system says of its memory: `VmRSS` now, `VmHWM` at most.
    pub fn memory_kib(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Where TLS is spoken.
    pub fn tls(&self) -> SocketAddr {
        let log = self.log();
        let mut entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let address = entries.find_map(|entry| entry["tls_addr"].as_str()?.parse().ok());
        address.expect("a gateway with TLS")
    }

    pub fn edit_config(&self, edit: impl FnOnce(String) -> String) {
        let path = self.folder.path().join("gateway.toml");
        fs::write(&path, edit(fs::read_to_string(&path).unwrap())).unwrap();
    }

    /// Waits for the process to end by itself.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(started.elapsed() < DEADLINE, "the gateway does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn access_log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Successors are in the same process group.
        let _ = killpg(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGKILL);
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the gateway's log\n{}", self.log());
        }
    }
}

type Started = (Child, SocketAddr, SocketAddr, Arc<Mutex<String>>);

fn spawn(folder: &Path) -> Started {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .arg("--config")
        .arg(folder.join("gateway.toml"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let log = Arc::new(Mutex::new(String::new()));
    let (found, addresses) = mpsc::channel();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let kept = log.clone();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if entry["message"] == "listening" {
                let address = |key: &str| entry[key].as_str().unwrap().parse::<SocketAddr>().unwrap();
                let _ = found.send((address("addr"), address("admin_addr")));
            }
            *kept.lock().unwrap() += &(line + "\n");
        }
    });
    match addresses.recv_timeout(DEADLINE) {
        Ok((http, admin)) => (child, http, admin, log),
        Err(_) => panic!("the gateway did not start:\n{}", log.lock().unwrap()),
    }
}

/// Waits until the condition holds; fails the test when it does not in time.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
