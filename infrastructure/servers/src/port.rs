use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Below the range that the kernel hands to outgoing connections (32768 and up by default), so that a
/// port chosen here is not taken by one before its server binds it.
const CANDIDATES: std::ops::Range<u16> = 20_000..32_000;
const ATTEMPTS: usize = 64;

/// Which loopback port a server gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortChoice {
    /// Any free port.
    #[default]
    Any,
    /// This port when it is free, any other free port when not.
    Prefer(u16),
    /// This port and no other: somebody already has its address.
    Exactly(u16),
}

impl PortChoice {
    /// A port that was free a moment ago. A server that must be told its port before it binds can still
    /// lose it to another process; its starter tries again.
    ///
    /// # Errors
    /// No free port was found, or the exact port is taken.
    pub fn choose(self) -> io::Result<u16> {
        match self {
            Self::Exactly(port) => probe(port).map(|()| port),
            Self::Prefer(port) if probe(port).is_ok() => Ok(port),
            Self::Any | Self::Prefer(_) => any_free(),
        }
    }

    /// A listener on the port, for a server in this process. It is never let go in between: a program that is being
    /// started by another thread has a copy of every open socket until it runs, so that a port that was
    /// tried and let go may be taken for a moment longer.
    ///
    /// # Errors
    /// As for [`PortChoice::choose`].
    pub(crate) fn listen(self) -> io::Result<TcpListener> {
        match self {
            Self::Exactly(port) => listener(port),
            Self::Prefer(port) => listener(port).or_else(|_| any_listener()),
            Self::Any => any_listener(),
        }
    }
}

fn any_free() -> io::Result<u16> {
    any_listener()?.local_addr().map(|address| address.port())
}

fn any_listener() -> io::Result<TcpListener> {
    let span = CANDIDATES.end - CANDIDATES.start;
    let random = || CANDIDATES.start + rand::random::<u16>() % span;
    (0..ATTEMPTS).find_map(|_| listener(random()).ok()).map_or_else(|| listener(0), Ok)
}

fn listener(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

fn probe(port: u16) -> io::Result<()> {
    listener(port).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_refused_or_replaced() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback binds");
        let port = taken.local_addr().expect("a bound address").port();
        assert!(PortChoice::Exactly(port).choose().is_err());
        let other = PortChoice::Prefer(port).choose().expect("a free port");
        assert_ne!(other, port);
        drop(taken);
        assert_eq!(PortChoice::Prefer(port).choose().expect("free again"), port);
    }

    #[test]
    fn a_listener_is_on_the_port_that_was_wanted_if_that_is_free() {
        let port =
            |choice: PortChoice| choice.listen().and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
        let (first, taken) = port(PortChoice::Any).expect("a free port");
        assert!(port(PortChoice::Exactly(first)).is_err());
        assert_ne!(port(PortChoice::Prefer(first)).expect("another").0, first);
        drop(taken);
        assert_eq!(port(PortChoice::Prefer(first)).expect("free again").0, first);
    }
}
