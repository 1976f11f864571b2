//! A listener of the host inside a sandbox's network namespace.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{BorrowedFd, OwnedFd},
};

use nix::sched::{CloneFlags, setns};
use tokio::{net::TcpListener, sync::oneshot};

/// Where a runtime finds the API: in each sandbox the same, because each has a loopback of its own.
pub(crate) const ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9001));

/// Opens [`ADDRESS`] in the network of the process behind this descriptor, whose loopback must be up. A thread of its own
/// enters the namespace and ends there: the namespace is a thread's, and no other thread may ever be in it.
pub(crate) async fn listen_inside(process: BorrowedFd<'_>) -> io::Result<TcpListener> {
    let process = process.try_clone_to_owned()?;
    let (reply, listener) = oneshot::channel();
    std::thread::Builder::new().name("runtime-api-door".to_owned()).spawn(move || {
        // Nobody waits any more when the start was cancelled.
        let _ = reply.send(enter_and_listen(&process));
    })?;
    let listener = listener.await.map_err(|_| io::Error::other("the thread that opens it has stopped"))??;
    TcpListener::from_std(listener)
}

fn enter_and_listen(process: &OwnedFd) -> io::Result<std::net::TcpListener> {
    setns(process, CloneFlags::CLONE_NEWNET)?;
    let listener = std::net::TcpListener::bind(ADDRESS)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
