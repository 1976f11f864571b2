//! A RabbitMQ broker as two children, the name server `epmd` and the broker itself, that touch nothing
//! of a RabbitMQ or Erlang this machine may run: own node name, ports, cookie and folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use local_servers::{Child, ChildLog, ChildSpec, PortChoice, Signal, generate_credential};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::unique_name;

/// Debian's folder with the real scripts; `/usr/sbin` has a wrapper that insists on the account `rabbitmq`.
const DEBIAN_SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
const START_DEADLINE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);
const USER: &str = "testkit";
const DESCRIPTION: &str = "control";

/// How to reach and control a broker; kept in its folder for other processes.
#[derive(Clone, Debug)]
pub(crate) struct RabbitControl {
    folder: PathBuf,
    node: String,
    amqp_port: u16,
    dist_port: u16,
    epmd_port: u16,
    password: String,
}

/// A running broker.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    control: RabbitControl,
    broker: Child,
    epmd: Child,
}

impl RabbitMq {
    pub(crate) fn is_installed() -> bool {
        script("rabbitmq-server").is_some()
    }

    /// Starts a new broker in an empty folder.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let control = RabbitControl {
            folder: folder.to_path_buf(),
            node: format!("{}@localhost", unique_name("testkit")),
            amqp_port: PortChoice::Any.choose()?,
            dist_port: PortChoice::Any.choose()?,
            epmd_port: PortChoice::Any.choose()?,
            password: generate_credential(),
        };
        control.write_files()?;
        Self::start_again(control).await
    }

    /// Starts a broker that was stopped or killed, on its data and ports.
    pub(crate) async fn start_again(control: RabbitControl) -> anyhow::Result<Self> {
        let program = script("rabbitmq-server").context(
            "no RabbitMQ on this machine: looked in /usr/lib/rabbitmq/bin and PATH. Fix: `apt install rabbitmq-server`",
        )?;
        let mut epmd = control.child("epmd", find_on_path("epmd").context("no `epmd` (Erlang) in PATH")?);
        epmd.args = vec!["-port".into(), control.epmd_port.to_string().into(), "-address".into(), "127.0.0.1".into()];
        let epmd = Child::start(epmd).await?;
        control.wait_for_port(&epmd, control.epmd_port).await?;
        let broker = Child::start(control.child("rabbitmq", program)).await?;
        control.wait_for_port(&broker, control.amqp_port).await?;
        Ok(Self { control, broker, epmd })
    }

    pub(crate) fn control(&self) -> &RabbitControl {
        &self.control
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.control.folder
    }

    pub(crate) fn signal(&self, signal: Signal) -> std::io::Result<()> {
        self.broker.signal(signal)
    }

    pub(crate) async fn stop(&self, deadline: Duration) {
        self.broker.stop(Signal::SIGTERM, deadline).await;
        self.epmd.stop(Signal::SIGTERM, deadline).await;
    }

    pub(crate) async fn kill(&self) {
        self.broker.kill_group();
        self.broker.exited().await;
        self.epmd.kill_group();
        self.epmd.exited().await;
    }
}

impl RabbitControl {
    pub(crate) fn url(&self, vhost: &str) -> String {
        format!("amqp://{USER}:{}@{}/{vhost}", self.password, self.address())
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.amqp_port)
    }

    /// Makes a virtual host. One evaluation on the broker, since every `rabbitmqctl` starts an Erlang.
    pub(crate) async fn create_vhost(&self, vhost: &str) -> anyhow::Result<()> {
        ensure!(vhost.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "`{vhost}` needs quoting");
        let program = script("rabbitmqctl").context("no `rabbitmqctl` on this machine")?;
        let all = "<<\".*\">>";
        let expression = format!(
            "ok = rabbit_vhost:add(<<\"{vhost}\">>, <<\"{USER}\">>), \
             rabbit_auth_backend_internal:set_permissions(<<\"{USER}\">>, <<\"{vhost}\">>, {all}, {all}, {all}, <<\"{USER}\">>)."
        );
        let output = tokio::process::Command::new(program)
            .args(["eval", &expression])
            .envs(self.environment())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(output.status.success(), "rabbitmqctl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Reads what [`RabbitControl::write_files`] wrote for a broker of another process.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(folder.join(DESCRIPTION))?;
        let mut lines = text.lines();
        let mut next = || lines.next().context("the broker's description is cut short");
        Ok(Self {
            folder: folder.to_path_buf(),
            node: next()?.to_owned(),
            amqp_port: next()?.parse()?,
            dist_port: next()?.parse()?,
            epmd_port: next()?.parse()?,
            password: next()?.to_owned(),
        })
    }

    fn write_files(&self) -> anyhow::Result<()> {
        let Self { folder, node, amqp_port, dist_port, epmd_port, password } = self;
        let description = format!("{node}\n{amqp_port}\n{dist_port}\n{epmd_port}\n{password}\n");
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{amqp_port}\n\
             default_user = {USER}\n\
             default_pass = {password}\n\
             log.file = false\n\
             log.console = true\n\
             log.console.level = warning\n\
             disk_free_limit.absolute = 50MB\n"
        );
        std::fs::write(folder.join(DESCRIPTION), description)?;
        std::fs::write(folder.join("rabbitmq.conf"), settings)?;
        std::fs::write(folder.join("plugins"), "[].\n")?;
        std::fs::write(folder.join("environment.conf"), "")?;
        Ok(())
    }

    fn child(&self, name: &str, program: PathBuf) -> ChildSpec {
        ChildSpec {
            env: self.environment(),
            folder: Some(self.folder.clone()),
            ..ChildSpec::new(name, program, ChildLog::new(self.folder.join(format!("{name}.log"))))
        }
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let inside = |name: &str| self.folder.join(name).display().to_string();
        BTreeMap::from(
            [
                ("HOME", self.folder.display().to_string()),
                ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
                ("ERL_EPMD_PORT", self.epmd_port.to_string()),
                ("RABBITMQ_NODENAME", self.node.clone()),
                ("RABBITMQ_DIST_PORT", self.dist_port.to_string()),
                ("RABBITMQ_MNESIA_BASE", inside("mnesia")),
                ("RABBITMQ_LOG_BASE", inside("log")),
                ("RABBITMQ_PID_FILE", inside("pid")),
                ("RABBITMQ_CONFIG_FILE", inside("rabbitmq.conf")),
                ("RABBITMQ_ADVANCED_CONFIG_FILE", inside("advanced.config")),
                ("RABBITMQ_CONF_ENV_FILE", inside("environment.conf")),
                ("RABBITMQ_ENABLED_PLUGINS_FILE", inside("plugins")),
                // The script then becomes the broker instead of watching over it, so that signals and
                // the parent's death reach the broker itself.
                ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        )
    }

    async fn wait_for_port(&self, child: &Child, port: u16) -> anyhow::Result<()> {
        let until = Instant::now() + START_DEADLINE;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = child.exit_status() {
                bail!("{} ended while starting ({status}):\n{}", child.name(), child.log().tail(20));
            }
            ensure!(Instant::now() < until, "{} is not ready:\n{}", child.name(), child.log().tail(20));
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

fn script(name: &str) -> Option<PathBuf> {
    let debian = Path::new(DEBIAN_SCRIPTS).join(name);
    if debian.is_file() { Some(debian) } else { find_on_path(name) }
}

fn find_on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}
