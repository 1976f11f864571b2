//! The operator's command line, as a person would use it.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};

use super::Target;

/// What would name another system than the one that is shown.
const FOREIGN: [&str; 5] = [
    "STRANGLER_TOKEN_FILE",
    "STRANGLER_DATABASE_URL",
    "STRANGLER_DATABASE_URL_FILE",
    "STRANGLER_TARGET_URL",
    "STRANGLER_TARGET_URL_FILE",
];

/// Longer than a stream takes to come to its end.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// `strangler`, told of the system that is shown.
pub(super) struct Tool {
    program: PathBuf,
    data: PathBuf,
    admin: String,
    token: String,
}

impl Tool {
    pub(super) fn new(target: &Target) -> Self {
        let Target { strangler, data, admin, token, .. } = target;
        Self { program: strangler.clone(), data: data.clone(), admin: admin.clone(), token: token.clone() }
    }

    /// The JSON that a command answers; one that finds something wrong answers as well.
    pub(super) async fn ask<T: DeserializeOwned>(&self, words: &[&str]) -> anyhow::Result<T> {
        let output = self.command(words).output().await.with_context(|| format!("cannot run {}", self.shown()))?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let error = String::from_utf8_lossy(&output.stderr);
            format!("strangler {} ended with {} and no answer: {}", words.join(" "), output.status, error.trim())
        })
    }

    /// Starts a command that goes on until it is told to stop; what it says is in a log of this name.
    pub(super) fn start(&self, words: &[&str], log: &str) -> anyhow::Result<Running> {
        let path = self.data.join("logs").join(log);
        let log = std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = self.command(words);
        command.stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot run {}", self.shown()))?;
        Ok(Running { child, log: path })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--output", "json", "--data"]).arg(&self.data).args(words).stdin(Stdio::null());
        command.env("STRANGLER_ADMIN", &self.admin).env("STRANGLER_TOKEN", &self.token);
        command.env("STRANGLER_ACTOR", "demo");
        for name in FOREIGN {
            command.env_remove(name);
        }
        command
    }

    fn shown(&self) -> std::path::Display<'_> {
        self.program.display()
    }
}

/// A command at work. Dropping it kills it.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Fails when it has ended by itself.
    pub(super) fn ensure_runs(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "the stream has ended ({ended:?}); see {}", self.log.display());
        Ok(())
    }

    /// Tells it to stop, and waits until it has.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.ensure_runs()?;
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).context("the stream has ended by itself")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("cannot stop the stream")?;
        let ended = tokio::time::timeout(END_DEADLINE, self.child.wait()).await;
        let status = ended.with_context(|| format!("the stream goes on after {END_DEADLINE:?}"))??;
        ensure!(status.success(), "the stream ended with {status}; see {}", self.log.display());
        Ok(())
    }
}
