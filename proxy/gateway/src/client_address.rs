//! Who the client is, when proxies stand between it and the gateway.
//!
//! `X-Forwarded-For` is believed as far as those who wrote it are: from the right, past every trusted
//! proxy, to the first address that is not one. Whatever stands left of that came from the client and
//! may be invented. `Forwarded` (RFC 7239) is not read, and not passed on: a proxy that writes one of
//! the two headers passes the other on from the client, so reading both would let the client choose.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The header that is read and written.
pub(crate) const FORWARDED_FOR: &str = "x-forwarded-for";

/// The networks whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

/// Whoever opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// Whether what it says about others is believed.
    pub(crate) trusted: bool,
}

/// Reads `10.0.0.0/8`, or one address.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl TrustedProxies {
    /// These networks; what is none is left out.
    pub(crate) fn new(networks: &[String]) -> Self {
        Self(networks.iter().filter_map(|text| network(text)).collect())
    }

    /// Whoever opened this connection.
    pub(crate) fn peer(&self, address: SocketAddr) -> Peer {
        let address = address.ip().to_canonical();
        Peer { address, trusted: self.include(address) }
    }

    /// The client on whose behalf a request with these headers came from this peer.
    pub(crate) fn client(&self, peer: Peer, headers: &HeaderMap) -> IpAddr {
        if !peer.trusted {
            return peer.address;
        }
        let mut client = peer.address;
        for line in headers.get_all(FORWARDED_FOR).iter().rev() {
            for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
                // A trusted proxy that writes no address (`unknown`, a name) hides who is behind it.
                let Some(address) = address(entry) else { return client };
                client = address;
                if !self.include(address) {
                    return client;
                }
            }
        }
        client
    }

    fn include(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An address, which some proxies write with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|open| open.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], peer: &str, lines: &[&str]) -> String {
        let networks: Vec<String> = trusted.iter().map(|text| (*text).to_owned()).collect();
        let proxies = TrustedProxies::new(&networks);
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().expect("a good value"));
        }
        let peer = proxies.peer(SocketAddr::new(peer.parse().expect("an address"), 1));
        proxies.client(peer, &headers).to_string()
    }

    #[test]
    fn nobody_is_believed_unless_trusted() {
        assert_eq!(client(&[], "10.0.0.1", &["1.2.3.4"]), "10.0.0.1");
        assert_eq!(client(&["10.0.0.0/8"], "11.0.0.1", &["1.2.3.4"]), "11.0.0.1");
    }

    #[test]
    fn the_walk_is_from_the_right_past_trusted_proxies() {
        let trusted = &["10.0.0.0/8", "::1", "fd00::/8"];
        for (peer, lines, expected) in [
            ("10.0.0.1", &[][..], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4, 10.9.9.9"], "1.2.3.4"),
            ("10.0.0.1", &["1.2.3.4,10.0.0.2 ,\t10.0.0.3"], "1.2.3.4"),
            ("10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
            ("10.0.0.1", &["1.2.3.4:5678"], "1.2.3.4"),
            ("10.0.0.1", &["[2001:db8::1]:5678"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["2001:DB8::1"], "2001:db8::1"),
            ("10.0.0.1", &["1.2.3.4, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4, _hidden, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["1.2.3.4,"], "10.0.0.1"),
            ("10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4"),
            ("::ffff:10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            ("::1", &["1.2.3.4, fd00::7"], "1.2.3.4"),
        ] {
            assert_eq!(client(trusted, peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn networks_and_single_addresses_are_read() {
        assert!(["10.0.0.0/8", "::/0", "127.0.0.1", "::1"].iter().all(|text| network(text).is_some()));
        assert!(["", "10.0.0.0/33", "localhost", "10.0.0"].iter().all(|text| network(text).is_none()));
    }
}
