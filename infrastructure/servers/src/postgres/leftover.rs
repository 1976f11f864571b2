//! What a killed server leaves behind: its pid file, and for a moment perhaps its processes.

use std::{collections::HashSet, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::Instant;

use super::{POLL, PostgresError, folder_error};

/// A server gets this long for a fast shutdown before the immediate one, and its sessions as long for the immediate one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends a server of an earlier run that still works on `data`, and the sessions of one that was killed; then removes its
/// stale lock files: that of the data and, in `sockets`, those of its sockets.
///
/// PostgreSQL judges such a file by whether its pid is alive, and refuses to start when that is a zombie
/// or has been given to another program of the same user; whether the process works *in* `data` is
/// certain. But by the file it also finds the shared memory that sessions hold on to when their server
/// was killed, and does not start beside them: they go on until they wait for something, and what they commit
/// after the log was read for recovery would be lost. So the file stays until there are none.
pub(super) async fn clear(data: &Path, sockets: &Path, deadline: Instant) -> Result<(), PostgresError> {
    let file = data.join("postmaster.pid");
    if let Ok(text) = std::fs::read_to_string(&file) {
        let server = text.lines().next().and_then(|line| line.trim().parse().ok());
        let server = || server.filter(|pid| works_in(*pid, data)).map(Pid::from_raw).into_iter().collect();
        end(server, [Signal::SIGINT, Signal::SIGQUIT], deadline).await?;
        end(|| working_in(data), [Signal::SIGQUIT, Signal::SIGKILL], deadline).await?;
        remove(&file)?;
    }
    for entry in std::fs::read_dir(sockets).map_err(folder_error(sockets))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".s.PGSQL.") {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(file: &Path) -> Result<(), PostgresError> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(folder_error(file)(error)),
        _ => Ok(()),
    }
}

/// Ends these processes, as long as there are some: with the first signal, and with the second once that was not enough.
async fn end(
    at_work: impl Fn() -> Vec<Pid>,
    [first, second]: [Signal; 2],
    deadline: Instant,
) -> Result<(), PostgresError> {
    let (since, mut told) = (Instant::now(), HashSet::new());
    loop {
        let left = at_work();
        let Some(one) = left.first() else { return Ok(()) };
        let signal = if since.elapsed() > PATIENCE { second } else { first };
        for pid in &left {
            if told.insert((*pid, signal)) {
                tracing::warn!(%pid, %signal, "ending a process of a PostgreSQL of an earlier run");
                let _ = kill(*pid, signal);
            }
        }
        if Instant::now() > deadline {
            return Err(PostgresError::StillRunning { pid: one.as_raw() });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// PostgreSQL's processes that have `data` as their folder, as all of one server do. An operator's shell may be there too.
fn working_in(data: &Path) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| works_in(*pid, data)).map(Pid::from_raw).collect()
}

fn works_in(pid: i32, data: &Path) -> bool {
    let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).ok();
    // A program that was replaced meanwhile has words behind its name.
    let is_postgres =
        |program: &Path| program.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"postgres"));
    link("cwd").is_some_and(|folder| folder == data) && link("exe").is_some_and(|program| is_postgres(&program))
}
