//! Whether a connection from the pool has ended, as the kernel knows it.
//!
//! Pingora looks too, but through the runtime, which hears of an end only when its event loop next runs. A
//! request sent in between is cut off, and one that must not be repeated fails, although its upstream was
//! gone before it began. This look closes all of that gap but the time from here to the sending.

use std::os::fd::{BorrowedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How a connection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// By one request after the other. Whatever can be read in between is an end, which reads as no
    /// bytes, or what nobody asked for.
    Alone,
    /// By many at once: there may be something to read at any time.
    Shared,
}

impl Use {
    /// What tells that it has ended. A reset is told unasked.
    fn signs(self) -> PollFlags {
        match self {
            Self::Alone => PollFlags::POLLIN,
            #[cfg(target_os = "linux")]
            Self::Shared => PollFlags::from_bits_retain(nix::libc::POLLRDHUP),
            #[cfg(not(target_os = "linux"))]
            Self::Shared => PollFlags::empty(),
        }
    }
}

/// Whether the other end has closed or reset this connection. It must be open on this side, as pingora's
/// is while it asks.
pub(super) fn has_ended(connection: RawFd, used: Use) -> bool {
    // SAFETY: pingora owns the connection, and keeps it open for longer than this call.
    let connection = unsafe { BorrowedFd::borrow_raw(connection) };
    let mut asked = [PollFd::new(connection, used.signs())];
    // What cannot be asked is left to the request to find out.
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ended| ended > 0)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
        os::fd::AsRawFd as _,
    };

    use super::*;

    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        (near, listener.accept().expect("it connects").0)
    }

    #[test]
    fn an_idle_connection_has_not_ended() {
        let (near, _far) = connection();
        assert!(!has_ended(near.as_raw_fd(), Use::Alone) && !has_ended(near.as_raw_fd(), Use::Shared));
    }

    #[test]
    fn a_closed_one_has() {
        let (near, far) = connection();
        drop(far);
        assert!(has_ended(near.as_raw_fd(), Use::Alone));
        #[cfg(target_os = "linux")]
        assert!(has_ended(near.as_raw_fd(), Use::Shared));
    }

    #[test]
    fn one_with_unasked_bytes_is_of_no_more_use_unless_it_is_shared() {
        let (near, mut far) = connection();
        far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").expect("it is open");
        assert!(has_ended(near.as_raw_fd(), Use::Alone) && !has_ended(near.as_raw_fd(), Use::Shared));
    }
}
