use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use local_servers::{PortChoice, Postgres, PostgresBinaries, PostgresOptions, Signal};
use nix::{sys::signal::kill, unistd::Pid};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::servers::{SharedPostgres, TestFolder, shared_postgres};
use crate::{background, unique_name};

const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// Where `scripts/install` puts versions of PostgreSQL that the system does not have, for root, whose servers run as
/// another account.
const VERSIONS_OF_ROOT: &str = "/var/cache/strangler/postgresql";

/// The same for everybody else, below their home.
const VERSIONS_AT_HOME: &str = ".cache/strangler/postgresql";

/// The folder of the binaries of each major version of PostgreSQL on this machine: the system's, and those in the
/// folder that `POSTGRES_VERSIONS` names (`NUMBER/bin/postgres`), or where `scripts/install` puts them.
#[must_use]
pub fn postgres_versions() -> BTreeMap<u32, PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(VERSIONS_AT_HOME));
    let named = std::env::var_os("POSTGRES_VERSIONS").map(PathBuf::from);
    let places = match named {
        Some(named) => vec![named],
        None => home.into_iter().chain([PathBuf::from(VERSIONS_OF_ROOT)]).collect(),
    };
    let places = places.into_iter().chain([PathBuf::from("/usr/lib/postgresql")]);
    places.flat_map(|place| PostgresBinaries::by_version(&place)).collect()
}

/// A database of a test's own, dropped with this value, whoever is still connected to it.
#[derive(Debug)]
pub struct TestDatabase {
    /// How to connect as its owner, a superuser.
    pub url: String,
    /// Its name.
    pub name: String,
    server: Arc<SharedPostgres>,
}

/// An empty database of the test's own on the shared server.
pub async fn postgres() -> TestDatabase {
    background::run(async {
        let server = shared_postgres().await;
        let name = unique_name("test");
        execute(server.admin_url(), format!("CREATE DATABASE {name}"))
            .await
            .expect("the shared server makes a database");
        TestDatabase { url: server.url(&name), name, server }
    })
    .await
}

impl TestDatabase {
    /// A small pool of connections to it.
    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(8).connect(&self.url).await.expect("the test's own database accepts")
    }

    /// Host and port of the server, for a [`crate::ChaosProxy`] in front of it.
    #[must_use]
    pub fn address(&self) -> String {
        address(&self.url)
    }

    /// The same database through another address, such as a [`crate::ChaosProxy`]'s.
    #[must_use]
    pub fn url_through(&self, other: &str) -> String {
        self.url.replacen(&self.address(), other, 1)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let url = self.server.admin_url().to_owned();
        // A server that is gone has nothing left to drop.
        let _ = background::run_blocking(async move { execute(&url, statement).await });
    }
}

/// A PostgreSQL of a test's own, to stop, kill and start again on the same data and port.
#[derive(Debug)]
pub struct PrivatePostgres {
    server: Option<Postgres>,
    options: PostgresOptions,
    port: u16,
    _folder: TestFolder,
}

impl PrivatePostgres {
    /// Starts one that syncs nothing: it survives being stopped, and what it acknowledges last may be
    /// lost when it is killed.
    pub async fn start() -> Self {
        Self::start_with(false, None).await
    }

    /// Starts one that keeps what it acknowledges, also when it is killed.
    pub async fn start_durable() -> Self {
        Self::start_with(true, None).await
    }

    /// Starts one from these binaries, such as [`postgres_versions`] finds, that syncs nothing.
    pub async fn start_from(binaries: PathBuf) -> Self {
        Self::start_with(false, Some(binaries)).await
    }

    async fn start_with(durable: bool, binaries: Option<PathBuf>) -> Self {
        background::run(async move {
            let folder = TestFolder::new();
            let options = PostgresOptions { durable, binaries, ..PostgresOptions::new(folder.path().join("postgres")) };
            let server = Postgres::start(&options).await.expect("PostgreSQL starts");
            let port = server.port();
            Self { server: Some(server), options, port, _folder: folder }
        })
        .await
    }

    /// How to connect to `database` (`postgres` exists from the start).
    ///
    /// # Panics
    /// It is stopped.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.server.as_ref().expect("a URL is asked of a running server").url(database)
    }

    /// Shuts it down in order.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            background::run(async move { server.stop(STOP_DEADLINE).await }).await;
        }
    }

    /// Kills it as a power cut would.
    pub async fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = server.child().signal(Signal::SIGKILL);
            server.child().exited().await;
        }
    }

    /// Stops every one of its processes where it is: connections stay open, new ones are accepted by
    /// the kernel, and nothing answers.
    ///
    /// # Panics
    /// It is stopped.
    pub fn pause(&self) {
        // The postmaster first, so that it starts no process that is not paused.
        for process in self.processes() {
            // One that has just ended needs no pause.
            let _ = kill(process, Signal::SIGSTOP);
        }
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// It is stopped.
    pub fn resume(&self) {
        for process in self.processes() {
            let _ = kill(process, Signal::SIGCONT);
        }
    }

    /// The postmaster and the processes it has started, each of which leads a session of its own.
    fn processes(&self) -> Vec<Pid> {
        let postmaster = self.server.as_ref().expect("a running server is paused").child().pid();
        let postmaster = Pid::from_raw(i32::try_from(postmaster).expect("a process id"));
        let all = std::fs::read_dir("/proc").expect("Linux lists its processes").flatten();
        let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw));
        std::iter::once(postmaster).chain(all.filter(|pid| parent(*pid) == Some(postmaster))).collect()
    }

    /// Starts it again on the same data and port.
    pub async fn start_again(&mut self) {
        self.stop().await;
        let options = PostgresOptions { port: PortChoice::Exactly(self.port), ..self.options.clone() };
        let server = background::run(async move { Postgres::start(&options).await }).await;
        self.server = Some(server.expect("PostgreSQL starts again on its data"));
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            background::run_blocking(async move { server.stop(STOP_DEADLINE).await });
        }
    }
}

/// The parent of a process, unless that has ended meanwhile.
fn parent(process: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // `pid (name) state ppid …`, and the name may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

fn address(url: &str) -> String {
    let options = PgConnectOptions::from_str(url).expect("a URL that testkit made");
    format!("{}:{}", options.get_host(), options.get_port())
}

async fn execute(url: &str, statement: String) -> Result<(), sqlx::Error> {
    let mut connection = PgConnectOptions::from_str(url)?.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}
