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
}

fn any_free() -> io::Result<u16> {
    let span = CANDIDATES.end - CANDIDATES.start;
    for _ in 0..ATTEMPTS {
        let port = CANDIDATES.start + rand::random::<u16>() % span;
        if probe(port).is_ok() {
            return Ok(port);
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn probe(port: u16) -> io::Result<()> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop)
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
}
