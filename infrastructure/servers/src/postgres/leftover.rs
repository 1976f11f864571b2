//! What a killed server leaves behind: its pid file, and for a moment perhaps itself.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use super::{POLL, PostgresError, folder_error};

/// An orphan gets this long for a fast shutdown before the immediate one.
const FAST_SHUTDOWN: Duration = Duration::from_secs(5);

/// Ends a server of an earlier run that still works on `data`, and removes its stale lock files: that
/// of the data and, in `sockets`, those of its sockets.
///
/// PostgreSQL judges such a file by whether its pid is alive, and refuses to start when that is a zombie
/// or has been given to another program of the same user; whether the process works *in* `data` is
/// certain.
pub(super) async fn clear(data: &Path, sockets: &Path, deadline: Instant) -> Result<(), PostgresError> {
    let file = data.join("postmaster.pid");
    if let Ok(text) = std::fs::read_to_string(&file) {
        let pid = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
        if let Some(pid) = pid
            && pid > 1
        {
            end(pid, data, deadline).await?;
        }
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

async fn end(pid: i32, data: &Path, deadline: Instant) -> Result<(), PostgresError> {
    let started = Instant::now();
    let mut signal = Signal::SIGINT;
    let mut signalled = false;
    while works_in(pid, data) {
        if !signalled {
            tracing::warn!(pid, "ending a PostgreSQL of an earlier run");
            let _ = kill(Pid::from_raw(pid), signal);
            signalled = true;
        } else if signal == Signal::SIGINT && started.elapsed() > FAST_SHUTDOWN {
            signal = Signal::SIGQUIT;
            signalled = false;
        }
        if Instant::now() > deadline {
            return Err(PostgresError::StillRunning { pid });
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

fn works_in(pid: i32, data: &Path) -> bool {
    std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder == data)
}
