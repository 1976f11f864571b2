//! A binary under test: started with its configuration, signalled, and watched as it ends.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use local_servers::{Child, ChildLog, ChildSpec, PortChoice, Signal};
use tempfile::TempDir;

use crate::eventually;

/// How long a binary may take until it is ready; generous for a loaded machine.
const READY_DEADLINE: Duration = Duration::from_secs(60);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// No test reads more of a log than this.
const LOG_LIMIT_BYTES: u64 = 256 * 1024 * 1024;

/// How to start a binary; see [`Spawned::of`].
#[derive(Clone, Debug)]
pub struct Spawn {
    program: PathBuf,
    args: Vec<OsString>,
    env: BTreeMap<String, String>,
    port: Option<u16>,
    ready_path: String,
}

/// A running binary. Dropping it kills it and its process group.
#[derive(Debug)]
pub struct Spawned {
    child: Child,
    spawn: Spawn,
    client: reqwest::Client,
    folder: TempDir,
}

impl Spawned {
    /// Describes how to start `program`, usually `env!("CARGO_BIN_EXE_name")`.
    pub fn of(program: impl Into<PathBuf>) -> Spawn {
        Spawn {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            port: None,
            ready_path: "/readyz".to_owned(),
        }
    }

    /// Its URL of `path`.
    ///
    /// # Panics
    /// It was started without [`Spawn::listen`].
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port())
    }

    /// The port it was given.
    ///
    /// # Panics
    /// It was started without [`Spawn::listen`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.spawn.port.expect("a binary that listens was started with `listen`")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Everything it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.child.log().path()).unwrap_or_default()
    }

    /// Whether its readiness route answers 200 now.
    pub async fn is_ready(&self) -> bool {
        let probe = self.client.get(self.url(&self.spawn.ready_path)).timeout(PROBE_TIMEOUT).send().await;
        probe.is_ok_and(|answer| answer.status().is_success())
    }

    /// Waits until its readiness route answers 200; fails the test with its log when it ends instead.
    pub async fn ready(&self) {
        tokio::select! {
            () = eventually(READY_DEADLINE, || self.is_ready()) => {}
            status = self.child.exited() => panic!("{} ended ({status}) instead of becoming ready:\n{}", self.child.name(), self.log()),
        }
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// The operating system refuses.
    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal).expect("our own child");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end within `deadline`.
    pub async fn exited(&self, deadline: Duration) -> ExitStatus {
        match tokio::time::timeout(deadline, self.child.exited()).await {
            Ok(status) => status,
            Err(_) => panic!("{} did not end within {deadline:?}:\n{}", self.child.name(), self.log()),
        }
    }

    /// SIGTERM, then waits for its end.
    ///
    /// # Panics
    /// It does not end within `deadline`.
    pub async fn terminate(&self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.exited(deadline).await
    }

    /// SIGKILL, then waits for its end.
    pub async fn kill(&self) {
        self.signal(Signal::SIGKILL);
        self.child.exited().await;
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Starts it again with the same configuration and port, after it was killed or has ended.
    pub async fn start_again(&mut self) {
        self.spawn_again().await;
        self.ready().await;
    }

    /// The same, without waiting until it is ready.
    pub async fn spawn_again(&mut self) {
        self.child.kill_group();
        self.child.exited().await;
        self.child = self.spawn.child(&self.folder).await;
    }
}

impl Spawn {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets a variable, such as `LEGACY__DATABASE__URL`.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Gives it a free port of loopback through the variable `name`, such as `LEGACY__HTTP__BIND`.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn listen(mut self, name: impl Into<String>) -> Self {
        let port = PortChoice::Any.choose().expect("a free port");
        self.port = Some(port);
        self.env(name, format!("127.0.0.1:{port}"))
    }

    /// Tells it a port that it listens on in a way of its own.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// The route that answers 200 once it is ready; `/readyz` unless said otherwise.
    #[must_use]
    pub fn ready_at(mut self, path: impl Into<String>) -> Self {
        self.ready_path = path.into();
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Spawned {
        let spawned = self.spawn().await;
        spawned.ready().await;
        spawned
    }

    /// Starts it and does not wait.
    ///
    /// # Panics
    /// The program cannot be started.
    pub async fn spawn(self) -> Spawned {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = self.child(&folder).await;
        Spawned { child, spawn: self, client: reqwest::Client::new(), folder }
    }

    async fn child(&self, folder: &TempDir) -> Child {
        let name = self.program.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let log = ChildLog::new(folder.path().join("log")).limit_bytes(LOG_LIMIT_BYTES);
        let spec =
            ChildSpec { args: self.args.clone(), env: self.env.clone(), ..ChildSpec::new(name, &self.program, log) };
        Child::start(spec).await.expect("the binary under test starts")
    }
}
