//! The process that this one takes over from, as this one sees it.

use std::{
    env,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::parent_id},
    },
    sync::Mutex,
    sync::PoisonError,
    time::Duration,
};

use super::handover::{self, Handed, READY, Role};

/// Tells a process whose successor it is. The id guards against a variable that was left over.
pub(super) const SUCCESSOR_OF: &str = "GATEWAY_SUCCESSOR_OF";

/// The list was sent before this process could look for it.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The other end of stdin: listeners come from it, the word "ready" goes to it.
pub(crate) struct Predecessor {
    socket: UnixStream,
    listeners: Mutex<Vec<Handed>>,
}

impl Predecessor {
    /// The one that started this process to take over, if one did.
    ///
    /// # Errors
    /// When one did, and its listeners do not arrive.
    pub(crate) fn find() -> io::Result<Option<Self>> {
        let successor_of = env::var(SUCCESSOR_OF).ok().and_then(|id| id.parse::<u32>().ok());
        if successor_of.is_none_or(|id| id != parent_id()) {
            return Ok(None);
        }
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        socket.set_read_timeout(Some(RECEIVE_TIMEOUT))?;
        let listeners = Mutex::new(handover::receive(&socket)?);
        Ok(Some(Self { socket, listeners }))
    }

    /// Its listener for this role, if it was configured with the same address.
    pub(crate) fn take(&self, role: Role, configured: SocketAddr) -> Option<TcpListener> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let index = listeners.iter().position(|one| one.role == role && one.configured == configured)?;
        let taken: OwnedFd = listeners.swap_remove(index).listener;
        Some(TcpListener::from(taken))
    }

    /// Tells it that this process accepts connections. What was not taken is closed.
    pub(crate) fn ready(mut self) -> io::Result<()> {
        self.socket.write_all(READY.as_bytes())
    }
}
