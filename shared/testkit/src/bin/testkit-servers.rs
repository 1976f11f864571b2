//! `testkit-servers -- COMMAND…` starts the servers that tests share, runs the command with their
//! addresses in its environment, stops them, and ends as the command did.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use anyhow::Context;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

const USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(status) => exit_code(status),
        Err(error) => {
            eprintln!("testkit-servers: {error:#}");
            ExitCode::from(USAGE)
        }
    }
}

async fn run() -> anyhow::Result<ExitStatus> {
    let mut arguments = std::env::args_os().skip(1).skip_while(|argument| argument == "--");
    let program = arguments.next().context("usage: testkit-servers -- COMMAND [ARGUMENT…]")?;
    // Caught from here on, so that a signal during start-up still stops what was started.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let servers = tokio::select! {
        servers = testkit::servers::start_all() => servers?,
        Some(()) = terminate.recv() => anyhow::bail!("terminated while the servers were starting"),
        Some(()) = interrupt.recv() => anyhow::bail!("interrupted while the servers were starting"),
    };
    let mut command = Command::new(&program);
    command.args(arguments).envs(servers.environment().variables()).kill_on_drop(true);
    // Without its servers the command has nothing to go on with. This is the main thread.
    local_servers::die_with_parent(command.as_std_mut(), testkit::Signal::SIGTERM);
    let status = match command.spawn() {
        Ok(mut child) => wait(&mut child, &mut terminate, &mut interrupt).await.context("lost the command"),
        Err(error) => Err(error).with_context(|| format!("cannot start {}", program.to_string_lossy())),
    };
    servers.stop().await;
    status
}

/// The command ends when it wants to. A terminal's Ctrl-C reaches it without our help; SIGTERM is sent
/// to one process, so it is passed on.
async fn wait(child: &mut Child, terminate: &mut Signal, interrupt: &mut Signal) -> anyhow::Result<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status?),
            Some(()) = interrupt.recv() => {}
            Some(()) = terminate.recv() => {
                if let Some(pid) = child.id() {
                    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid)?);
                    nix::sys::signal::kill(pid, testkit::Signal::SIGTERM)?;
                }
            }
        }
    }
}

/// As a shell reports it: the exit code, or 128 and the signal's number.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
