//! The servers behind the contenders, and the folder everything keeps its files in.

use std::{fs, net::SocketAddr, path::Path};

use tempfile::TempDir;

use crate::process::{Cores, Process, free_address};

/// What the contenders need: an origin for each side, and Redis.
pub struct Servers {
    pub legacy: SocketAddr,
    pub candidate: SocketAddr,
    pub redis: SocketAddr,
    // In this order: the processes end before their folder goes.
    _origin: Process,
    _redis: Process,
    folder: TempDir,
}

impl Servers {
    pub fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (legacy, candidate, redis) = (free_address()?, free_address()?, free_address()?);
        let body = format!("{{\"answer\":\"{}\"}}", "x".repeat(1_024 - 13));
        let server = |address: SocketAddr| {
            format!(
                "server {{ listen {address}; location / {{ default_type application/json; return 200 '{body}'; }} }}\n"
            )
        };
        let http = format!("access_log off; keepalive_requests 100000000;\n{}{}", server(legacy), server(candidate));
        let origin = nginx(folder.path(), "origin", Cores::Rest, &http, legacy)?;
        let mut command = Cores::Rest.command("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &redis.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no"]).arg("--dir").arg(folder.path());
        let redis_process = Process::start(command, &folder.path().join("redis.log"), redis)?;
        Ok(Self { legacy, candidate, redis, _origin: origin, _redis: redis_process, folder })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// An nginx with one worker and these lines in its `http` block.
pub fn nginx(folder: &Path, name: &str, cores: Cores, http: &str, listens: SocketAddr) -> anyhow::Result<Process> {
    let prefix = folder.join(name);
    fs::create_dir(&prefix)?;
    let file = prefix.join("nginx.conf");
    // Temporary folders in the prefix: the packaged ones need not be writable.
    let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", prefix.display()))
        .concat();
    let user = if nix::unistd::geteuid().is_root() { "user root;\n" } else { "" };
    let text = format!(
        "{user}daemon off; worker_processes 1; pid {0}/pid; error_log {0}/error.log;\n\
         events {{ worker_connections 4096; }}\nhttp {{\n{folders}{http}\n}}\n",
        prefix.display()
    );
    fs::write(&file, text)?;
    let mut command = cores.command("nginx");
    command.arg("-p").arg(&prefix).arg("-c").arg(&file);
    Process::start(command, &folder.join(format!("{name}.log")), listens)
}
