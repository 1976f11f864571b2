//! The servers behind the contenders, and the folder everything keeps its files in.

use std::{net::SocketAddr, path::Path};

use tempfile::TempDir;

use crate::{
    nginx::origin,
    process::{Cores, Process, free_address},
};

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
        let origin = origin(folder.path(), "origin", Cores::Rest, &[(legacy, body.clone()), (candidate, body)])?;
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
