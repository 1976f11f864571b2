//! How listeners get from one process to the other: a Unix socket carries a list of them as one
//! line of JSON, and with it the descriptors (`SCM_RIGHTS`, unix(7)). The answer is one line.

use std::{
    io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read},
    mem::MaybeUninit,
    net::SocketAddr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex, PoisonError},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// What the new process says when it accepts connections.
pub(super) const READY: &str = "ready\n";

/// The gateway has three listeners; one message carries them all.
const MAX_LISTENERS: usize = 8;

/// A list of that many is far shorter.
const MAX_LIST_BYTES: usize = 4_096;

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// The admin API.
    Admin,
}

/// A listener that is handed over.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) role: Role,
    /// The address in the settings, which is not the one it got when the port there is 0.
    pub(crate) configured: SocketAddr,
    pub(crate) listener: OwnedFd,
}

/// Descriptors of this process's listeners, for a successor.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<Vec<Handed>>);

impl Held {
    pub(crate) fn new(listeners: Vec<Handed>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(listeners)))
    }

    /// Closes them. As long as one of them is open the system queues connections to it, so this
    /// comes before the last look at the queue.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn send(&self, socket: &UnixStream) -> io::Result<()> {
        send(socket, &self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Serialize, Deserialize)]
struct Entry {
    role: Role,
    configured: SocketAddr,
}

/// Sends all of them.
fn send(socket: &UnixStream, listeners: &[Handed]) -> io::Result<()> {
    let entry = |handed: &Handed| Entry { role: handed.role, configured: handed.configured };
    let entries: Vec<_> = listeners.iter().map(entry).collect();
    let mut line = serde_json::to_vec(&entries)?;
    line.push(b'\n');
    let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(|handed| handed.listener.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_LISTENERS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("there are more listeners than one message carries"));
    }
    let sent = sendmsg(socket, &[IoSlice::new(&line)], &mut control, SendFlags::empty())?;
    // The list is shorter than any socket's buffer.
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives all of them.
pub(super) fn receive(socket: &UnixStream) -> io::Result<Vec<Handed>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_LISTENERS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut start = vec![0; MAX_LIST_BYTES];
    // Descriptors arrive with the first byte of the line, and may not go on to other programs.
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut start)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    start.truncate(received.bytes);
    let mut line = String::new();
    BufReader::new(start.as_slice().chain(socket).take(MAX_LIST_BYTES as u64)).read_line(&mut line)?;
    let entries: Vec<Entry> = serde_json::from_str(&line)?;
    if entries.len() != descriptors.len() {
        return Err(io::Error::other("the list and the descriptors do not agree"));
    }
    let pairs = entries.into_iter().zip(descriptors);
    Ok(pairs.map(|(Entry { role, configured }, listener)| Handed { role, configured, listener }).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn listeners_work_on_the_other_side() {
        let (here, there) = UnixStream::pair().unwrap();
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let configured = SocketAddr::from(([127, 0, 0, 1], 0));
        let (http, admin) = (bind(), bind());
        let addresses = [http.local_addr().unwrap(), admin.local_addr().unwrap()];
        let handed = [(Role::Http, http), (Role::Admin, admin)].map(|(role, listener)| Handed {
            role,
            configured,
            listener: listener.into(),
        });
        send(&here, &handed).unwrap();
        drop(handed);
        let received = receive(&there).unwrap();
        assert_eq!(received.iter().map(|one| one.role).collect::<Vec<_>>(), [Role::Http, Role::Admin]);
        for (one, address) in received.into_iter().zip(addresses) {
            assert_eq!(one.configured, configured);
            let listener = TcpListener::from(one.listener);
            let _client = TcpStream::connect(address).unwrap();
            listener.accept().unwrap();
        }
    }
}
