//! The process that takes over from this one, as this one sees it.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::{self, ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    time,
};

use super::{
    handover::{Held, READY},
    predecessor::SUCCESSOR_OF,
    program::Program,
};

/// Why the running process goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The binary cannot be started.
    #[error("cannot start {}", .path.display())]
    Start {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The new process ended.
    #[error("the new process ended before it was ready ({0}); it has written why to the log")]
    Ended(ExitStatus),
    /// The new process took too long.
    #[error("the new process was not ready within {0:?} and has been ended")]
    TooSlow(Duration),
    /// The listeners could not be handed over, or the system's word was lost.
    #[error("the listeners could not be handed over")]
    Handover(#[from] io::Error),
    /// The running process is going already.
    #[error("the gateway is shutting down")]
    ShuttingDown,
}

/// Starts the program and waits until it says that it accepts connections. Whatever else happens,
/// the new process is gone when this returns.
pub(super) async fn start(program: &Program, listeners: &Held, deadline: Duration) -> Result<u32, UpgradeError> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut child = Command::new(&program.path)
        .args(&program.arguments)
        .env(SUCCESSOR_OF, process::id().to_string())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(|source| UpgradeError::Start { path: program.path.clone(), source })?;
    let mut unready = Unready(Some(&mut child));
    let outcome = match time::timeout(deadline, readiness(unready.child(), ours, listeners)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(UpgradeError::TooSlow(deadline)),
    };
    if outcome.is_ok() {
        unready.0 = None;
    }
    outcome
}

async fn readiness(child: &mut Child, socket: UnixStream, listeners: &Held) -> Result<u32, UpgradeError> {
    listeners.send(&socket)?;
    socket.set_nonblocking(true)?;
    let mut socket = tokio::net::UnixStream::from_std(socket)?;
    let mut word = [0; READY.len()];
    match (socket.read_exact(&mut word).await, child.id()) {
        (Ok(_), Some(id)) if word == READY.as_bytes() => Ok(id),
        // Its end of the socket closes with the process.
        _ => Err(UpgradeError::Ended(child.wait().await?)),
    }
}

/// Ends the process unless it has become ready, also when nobody waits for it any more.
struct Unready<'a>(Option<&'a mut Child>);

impl Unready<'_> {
    fn child(&mut self) -> &mut Child {
        self.0.as_deref_mut().expect("it is taken away only when this is given up")
    }
}

impl Drop for Unready<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // An error says that it has ended by itself.
            let _ = child.start_kill();
        }
    }
}
