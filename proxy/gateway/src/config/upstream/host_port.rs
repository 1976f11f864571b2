use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// `host:port`, where the host is a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The host, without brackets.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

/// Why a text is no [`HostPort`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostPortProblem {
    /// There is no port, or it is 0 or too large.
    #[error("it has no port")]
    NoPort,
    /// There is no host.
    #[error("it has no host")]
    NoHost,
    /// The host is neither an address nor a name.
    #[error("its host is neither a name nor an address")]
    BadHost,
}

impl HostPort {
    /// The address, when no name has to be looked up.
    #[must_use]
    pub fn literal(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl FromStr for HostPort {
    type Err = HostPortProblem;

    fn from_str(text: &str) -> Result<Self, HostPortProblem> {
        let (host, port) = text.rsplit_once(':').ok_or(HostPortProblem::NoPort)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(HostPortProblem::NoPort)?;
        if host.is_empty() {
            return Err(HostPortProblem::NoHost);
        }
        let in_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let (inner, good) = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => (inner, inner.parse::<Ipv6Addr>().is_ok()),
            None => (host, host.bytes().all(in_a_name)),
        };
        if !good {
            return Err(HostPortProblem::BadHost);
        }
        Ok(Self { host: inner.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        for (text, literal) in [("db-1.example:80", false), ("10.0.0.1:8080", true), ("[::1]:443", true)] {
            let parsed: HostPort = text.parse().expect(text);
            assert_eq!((parsed.to_string().as_str(), parsed.literal().is_some()), (text, literal));
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for (text, problem) in [
            ("host", HostPortProblem::NoPort),
            ("host:", HostPortProblem::NoPort),
            ("host:0", HostPortProblem::NoPort),
            ("host:65536", HostPortProblem::NoPort),
            (":80", HostPortProblem::NoHost),
            ("[host]:80", HostPortProblem::BadHost),
            ("::1:80", HostPortProblem::BadHost),
            ("a b:80", HostPortProblem::BadHost),
            ("http://host:80", HostPortProblem::BadHost),
            ("user@host:80", HostPortProblem::BadHost),
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(problem), "{text}");
        }
    }
}
