//! A Redis of a test's own.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use local_servers::{Child, ChildLog, ChildSpec, PortChoice, Signal, generate_credential};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::background;
use crate::servers::TestFolder;

const START_DEADLINE: Duration = Duration::from_secs(20);
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// A server of a test's own, in memory only, to stop, kill, pause and start again on the same port. It
/// wants its password, and forgets everything when it ends.
#[derive(Debug)]
pub struct PrivateRedis {
    child: Child,
    port: u16,
    password: String,
    folder: TestFolder,
}

impl PrivateRedis {
    /// Starts one.
    ///
    /// # Panics
    /// It does not start, or this machine has none.
    pub async fn start() -> Self {
        background::run(async {
            let (folder, password) = (TestFolder::new(), generate_credential());
            let port = PortChoice::Any.choose().expect("a free port");
            let child = start(&folder, port, &password).await.expect("Redis starts");
            Self { child, port, password, folder }
        })
        .await
    }

    /// How to connect to it.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_through(&self.address())
    }

    /// The same through another address, such as a [`crate::ChaosProxy`]'s.
    #[must_use]
    pub fn url_through(&self, address: &str) -> String {
        format!("redis://:{}@{address}/0", self.password)
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Shuts it down in order.
    pub async fn stop(&self) {
        self.child.stop(Signal::SIGTERM, STOP_DEADLINE).await;
    }

    /// Kills it as a power cut would.
    pub async fn kill(&self) {
        self.child.kill_group();
        self.child.exited().await;
    }

    /// Stops its process where it is: connections stay open, new ones are accepted by the kernel, and
    /// nothing answers.
    ///
    /// # Panics
    /// The operating system refuses.
    pub fn pause(&self) {
        self.child.signal(Signal::SIGSTOP).expect("our own child");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// The operating system refuses.
    pub fn resume(&self) {
        self.child.signal(Signal::SIGCONT).expect("our own child");
    }

    /// Starts it again on the same port, empty.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start_again(&mut self) {
        self.kill().await;
        self.child = start(&self.folder, self.port, &self.password).await.expect("Redis starts again");
    }
}

async fn start(folder: &TestFolder, port: u16, password: &str) -> anyhow::Result<Child> {
    let program = find_program().context("no `redis-server` in PATH. Fix: `apt install redis-server`")?;
    let settings = folder.path().join("redis.conf");
    // In a file and not in arguments, which every user of the machine can read.
    let text = format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave \"\"\nappendonly no\ndir {}\n",
        folder.path().display()
    );
    std::fs::write(&settings, text)?;
    let log = ChildLog::new(folder.path().join("redis.log"));
    let spec = ChildSpec { args: vec![settings.into()], ..ChildSpec::new("redis-server", program, log) };
    let child = Child::start(spec).await?;
    let until = Instant::now() + START_DEADLINE;
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        if let Some(status) = child.exit_status() {
            bail!("redis-server ended while starting ({status}):\n{}", child.log().tail(20));
        }
        ensure!(Instant::now() < until, "redis-server is not ready:\n{}", child.log().tail(20));
        tokio::time::sleep(POLL).await;
    }
    Ok(child)
}

fn find_program() -> Option<std::path::PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join("redis-server")).find(|path| path.is_file())
}
