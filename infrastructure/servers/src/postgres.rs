//! A private PostgreSQL run as a child process.
//!
//! Layout of the folder it is given: `cluster` (the data), `run` (the socket), `password` (of the
//! superuser, mode 0600), `postgres.log`.

mod binaries;
mod cluster;
mod leftover;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tokio::time::Instant;

pub use binaries::{BinarySource, PostgresBinaries};

use crate::Signal;
use crate::account::{Account, AccountError};
use crate::child::{Child, ChildError, ChildSpec, Stopped};
use crate::child_log::ChildLog;
use crate::port::PortChoice;

const SUPERUSER: &str = "postgres";
const POLL: Duration = Duration::from_millis(20);
/// After a fast shutdown missed its deadline, an immediate one gets this long before the kill.
const IMMEDIATE_SHUTDOWN: Duration = Duration::from_secs(5);
const TAIL_LINES: usize = 20;

/// How to run a [`Postgres`].
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Its folder, made when missing.
    pub folder: PathBuf,
    /// Which port on loopback.
    pub port: PortChoice,
    /// The account to run as when this process is root: `postgres` or `nobody` when `None`.
    pub account: Option<String>,
    /// A folder with `postgres` and `initdb`; when `None`, the system's are looked for.
    pub binaries: Option<PathBuf>,
    /// Where downloaded binaries are kept when the system has none; inside `folder` when `None`.
    pub downloads: Option<PathBuf>,
    /// Whether a commit survives a power cut. Only tests say no: it saves the disk flushes.
    pub durable: bool,
    /// Most connections at a time.
    pub max_connections: u16,
    /// How long start-up may take, crash recovery included.
    pub start_deadline: Duration,
}

impl PostgresOptions {
    /// A durable server in `folder`, on any free port.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            port: PortChoice::Any,
            account: None,
            binaries: None,
            downloads: None,
            durable: true,
            max_connections: 200,
            start_deadline: Duration::from_secs(60),
        }
    }
}

/// A PostgreSQL could not be run.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Neither the system nor the download has binaries.
    #[error(
        "no PostgreSQL binaries: looked in /usr/lib/postgresql/*/bin, in PATH and where `pg_config` points, \
         then tried to download them into {}: {reason}. Fix: `apt install postgresql` (or your system's package)",
        downloads.display()
    )]
    NoBinaries {
        /// Where the download would have been kept.
        downloads: PathBuf,
        /// Why there is no download.
        reason: String,
    },
    /// The server's account may not pass a folder on the way to its data.
    #[error(
        "account `{account}` may not pass {}, which is on the way to PostgreSQL's data in {}. \
         Fix: choose a data folder elsewhere, for example under /var/lib, or `chmod o+x {}`",
        closed.display(), folder.display(), closed.display()
    )]
    Unreachable {
        /// The account.
        account: String,
        /// The folder that is closed to it.
        closed: PathBuf,
        /// The server's folder.
        folder: PathBuf,
    },
    /// No account to run as.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A folder or file of the server's cannot be prepared.
    #[error("cannot prepare {}", path.display())]
    Folder {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// No free port.
    #[error("no port for PostgreSQL")]
    Port(#[source] io::Error),
    /// A program of PostgreSQL's cannot be started.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// `initdb` failed.
    #[error("initdb failed ({status}):\n{log_tail}")]
    Initdb {
        /// Its exit status.
        status: ExitStatus,
        /// The end of its output.
        log_tail: String,
    },
    /// A server from an earlier run holds the data and does not end.
    #[error("a PostgreSQL of an earlier run (process {pid}) still holds the data and does not end; stop it")]
    StillRunning {
        /// Its process id.
        pid: i32,
    },
    /// The server ended before it accepted a connection.
    #[error("PostgreSQL ended while starting ({status}):\n{log_tail}")]
    EndedEarly {
        /// Its exit status.
        status: ExitStatus,
        /// The end of its log.
        log_tail: String,
    },
    /// The server did not accept a connection in time.
    #[error("PostgreSQL did not accept a connection within {} s ({last}):\n{log_tail}", deadline.as_secs())]
    NotReady {
        /// The deadline it missed.
        deadline: Duration,
        /// The last attempt's error.
        last: String,
        /// The end of its log.
        log_tail: String,
    },
    /// A statement failed on a running server.
    #[error("cannot {action}")]
    Statement {
        /// What was attempted.
        action: String,
        /// The database's answer.
        #[source]
        source: sqlx::Error,
    },
}

/// A running PostgreSQL. Dropping it kills it, which its next start recovers from; [`Postgres::stop`]
/// shuts it down in order.
pub struct Postgres {
    child: Child,
    port: u16,
    password: String,
    binaries: PostgresBinaries,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("child", &self.child).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Postgres {
    /// Starts a server on its folder: initialises it the first time, clears what a killed run left
    /// behind otherwise, and waits until it accepts connections.
    ///
    /// # Errors
    /// No binaries, an unreachable folder, no port, or a server that does not come up; each names its fix
    /// or carries the end of the log.
    pub async fn start(options: &PostgresOptions) -> Result<Self, PostgresError> {
        let deadline = Instant::now() + options.start_deadline;
        let account = Account::for_server(options.account.as_deref())?;
        let cluster = cluster::Cluster::prepare(&options.folder, account)?;
        let downloads = options.downloads.clone().unwrap_or_else(|| options.folder.join("downloads"));
        let binaries = PostgresBinaries::find(options.binaries.as_deref(), &downloads).await?;
        cluster.initialise(&binaries, options.durable).await?;
        leftover::clear(cluster.data(), &cluster.sockets(), deadline).await?;
        loop {
            let port = options.port.choose().map_err(PostgresError::Port)?;
            let child = Child::start(server_spec(&cluster, &binaries, options, port)).await?;
            let server = Self { child, port, password: cluster.password().to_owned(), binaries: binaries.clone() };
            match server.wait_until_accepting(deadline, options.start_deadline).await {
                Ok(()) => return Ok(server),
                Err(error) if passes(&error) && Instant::now() < deadline => tokio::time::sleep(POLL * 5).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// A connection URL for `database`, with the superuser's password in it: a secret.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{SUPERUSER}:{}@{}:{}/{database}?sslmode=disable",
            self.password,
            Ipv4Addr::LOCALHOST,
            self.port
        )
    }

    /// Its port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The binaries it runs from.
    #[must_use]
    pub fn binaries(&self) -> &PostgresBinaries {
        &self.binaries
    }

    /// Its main process.
    #[must_use]
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// Creates `database` unless it is there.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn ensure_database(&self, database: &str) -> Result<(), PostgresError> {
        let failed = |source| PostgresError::Statement { action: format!("create database `{database}`"), source };
        let mut connection = self.connect().await.map_err(failed)?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(database)
            .fetch_one(&mut connection)
            .await
            .map_err(failed)?;
        if !exists {
            let statement = format!("CREATE DATABASE \"{}\"", database.replace('"', "\"\""));
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.map_err(failed)?;
        }
        connection.close().await.map_err(failed)
    }

    /// Shuts down: fast within `deadline` (open transactions roll back, a checkpoint is written), then
    /// immediately, then by kill. The data is safe in every case.
    pub async fn stop(&self, deadline: Duration) -> Stopped {
        let _ = self.child.signal(Signal::SIGINT);
        match tokio::time::timeout(deadline, self.child.exited()).await {
            Ok(status) => Stopped::InTime(status),
            Err(_) => {
                self.child.stop(Signal::SIGQUIT, IMMEDIATE_SHUTDOWN).await;
                Stopped::Killed
            }
        }
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(SUPERUSER)
            .password(&self.password)
            .database("postgres")
            .ssl_mode(PgSslMode::Disable)
            .connect()
            .await
    }

    async fn wait_until_accepting(&self, until: Instant, deadline: Duration) -> Result<(), PostgresError> {
        let mut last = "no attempt yet".to_owned();
        loop {
            let attempt = tokio::select! {
                status = self.child.exited() => {
                    return Err(PostgresError::EndedEarly { status, log_tail: self.log_tail() });
                }
                attempt = tokio::time::timeout_at(until, self.connect()) => attempt,
            };
            match attempt {
                Ok(Ok(connection)) => {
                    let _ = connection.close().await;
                    return Ok(());
                }
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => return Err(PostgresError::NotReady { deadline, last, log_tail: self.log_tail() }),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn log_tail(&self) -> String {
        self.child.log().tail(TAIL_LINES)
    }
}

fn server_spec(
    cluster: &cluster::Cluster,
    binaries: &PostgresBinaries,
    options: &PostgresOptions,
    port: u16,
) -> ChildSpec {
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        format!(
            "unix_socket_directories={}",
            cluster.socket_folder(port).map_or(String::new(), |p| p.display().to_string())
        ),
        format!("max_connections={}", options.max_connections),
        // Logical decoding is how the migration reads changes; it cannot be switched on later without a restart.
        "wal_level=logical".to_owned(),
        // Each stream takes a slot at one end, and one for each of its lanes at the other.
        "max_replication_slots=200".to_owned(),
        "max_wal_senders=50".to_owned(),
        "log_timezone=UTC".to_owned(),
        "timezone=UTC".to_owned(),
    ];
    if !options.durable {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
    }
    let mut args = vec!["-D".into(), cluster.data().as_os_str().to_owned()];
    for setting in settings {
        args.push("-c".into());
        args.push(setting.into());
    }
    ChildSpec {
        args,
        // Immediate shutdown: no orphan may linger for its clients, and a durable server recovers.
        orphan_signal: Signal::SIGQUIT,
        ..cluster.child("postgres", binaries.program("postgres"))
    }
}

/// Whether a start may succeed a moment later: the port was taken between choosing and binding it, or
/// the processes of a killed server have not noticed yet.
fn passes(error: &PostgresError) -> bool {
    let PostgresError::EndedEarly { log_tail, .. } = error else { return false };
    log_tail.contains("Address already in use") || log_tail.contains("pre-existing shared memory block")
}

fn folder_error(path: &Path) -> impl FnOnce(io::Error) -> PostgresError + use<> {
    let path = path.to_path_buf();
    move |source| PostgresError::Folder { path, source }
}

pub(crate) fn log_in(folder: &Path) -> ChildLog {
    ChildLog::new(folder.join("postgres.log"))
}
