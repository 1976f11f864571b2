//! User ids for workers: one for each live worker, over the whole machine.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    sync::atomic::{AtomicU32, Ordering},
};

use crate::SandboxError;

/// The range that workers' user ids are taken from.
#[derive(Debug)]
pub(crate) struct UidRange {
    first: u32,
    count: u32,
    next: AtomicU32,
}

/// A user id that no other worker has while this lives.
///
/// The claim is an abstract Unix socket named for the id: two services on one machine see each other's
/// claims, and the kernel drops the claims of a service that was killed.
#[derive(Debug)]
pub(crate) struct UidLease {
    uid: u32,
    _claim: UnixListener,
}

impl UidRange {
    pub(crate) fn new(first: u32, count: u32) -> Self {
        Self { first, count, next: AtomicU32::new(0) }
    }

    pub(crate) fn lease(&self) -> Result<UidLease, SandboxError> {
        for _ in 0..self.count {
            let uid = self.first + self.next.fetch_add(1, Ordering::Relaxed) % self.count;
            match claim(uid) {
                Ok(claim) => return Ok(UidLease { uid, _claim: claim }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(source) => return Err(SandboxError::Start { operation: "claim a user id for a worker", source }),
            }
        }
        Err(SandboxError::NoFreeUid { count: self.count })
    }
}

impl UidLease {
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }
}

fn claim(uid: u32) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(format!("mini-lambda-worker-uid-{uid}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_leases_share_an_id_even_from_two_services() {
        // Ids that no other test uses.
        let (one, other) = (UidRange::new(2_000_000_000, 2), UidRange::new(2_000_000_000, 2));
        let (first, second) = (one.lease().expect("free"), other.lease().expect("free"));
        assert_ne!(first.uid(), second.uid());
        assert!(matches!(one.lease(), Err(SandboxError::NoFreeUid { count: 2 })));
        let freed = first.uid();
        drop(first);
        assert_eq!(other.lease().expect("free again").uid(), freed);
    }
}
