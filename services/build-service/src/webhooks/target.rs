//! Where messages may go: to public addresses, and to what the settings allow.
//!
//! A client names the address, so it must not lead to what only we can reach (server-side request forgery).
//! A name is checked by the addresses that it resolves to, in the same step as these are connected to:
//! were it resolved once for the check and once more for the connection, its owner could answer otherwise
//! the second time (DNS rebinding).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use reqwest::Url;

/// The longest address that is taken, in bytes.
const URL_BYTES: usize = 2_048;

/// Hosts and networks that are allowed although they are not public.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    hosts: Vec<String>,
    networks: Vec<IpNet>,
}

impl Allowed {
    /// Checks an entry of the settings.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(entry: &str) -> Result<(), String> {
        if network(entry).is_some() {
            return Ok(());
        }
        let is_name = !entry.is_empty()
            && entry.len() <= 253
            && entry.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if is_name { Ok(()) } else { Err(format!("`{entry}` is neither a host nor a network")) }
    }

    /// What the settings allow. Entries that are neither a host nor a network allow nothing.
    #[must_use]
    pub fn new(entries: &[String]) -> Self {
        let mut allowed = Self::default();
        for entry in entries {
            match network(entry) {
                Some(network) => allowed.networks.push(network),
                None => allowed.hosts.push(entry.to_ascii_lowercase()),
            }
        }
        allowed
    }

    /// Whether this host may be connected to wherever it leads.
    #[must_use]
    pub fn host(&self, host: &str) -> bool {
        self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host.trim_end_matches('.')))
    }

    /// Whether this address may be connected to.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> bool {
        let address = plain(address);
        is_public(address) || self.networks.iter().any(|network| network.contains(&address))
    }
}

fn network(entry: &str) -> Option<IpNet> {
    entry.parse().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Checks the form of an address that a client gave. Where it leads is checked whenever it is used.
///
/// # Errors
/// What is wrong with it.
pub fn check_url(url: &str) -> Result<Url, String> {
    if url.len() > URL_BYTES {
        return Err(format!("it is longer than {URL_BYTES} bytes"));
    }
    let url = Url::parse(url).map_err(|error| format!("it is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it is neither http nor https".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a name or a password".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host".to_owned());
    }
    Ok(url)
}

/// The address that a URL names itself, without any resolving.
#[must_use]
pub fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// An IPv4 address that is written as an IPv6 one is the IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => embedded_v4(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// IPv4 inside IPv6: mapped (RFC 4291), NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => from(g, h),
        (0x2002, ..) => from(b, c),
        _ => None,
    }
}

/// Whether an address is on the public internet, by IANA's registries of special-purpose addresses.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        // What is assigned to the internet is 2000::/3.
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            let is_documentation = (a == 0x2001 && b == 0xdb8) || (0x3fff, b & 0xf000) == (a, 0);
            // 2001::/23 is for protocols such as Teredo, which leads to IPv4.
            a & 0xe000 == 0x2000 && !is_documentation && !(a == 0x2001 && b < 0x200)
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        // This network, shared address space (RFC 6598), protocols, 6to4 relays, benchmarks, reserved.
        || a == 0
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18)
        || a >= 240)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(allowed: &Allowed, address: &str) -> bool {
        allowed.address(address.parse().expect("an address"))
    }

    #[test]
    fn only_public_addresses_are_reached_unasked() {
        let nothing = Allowed::default();
        for public in ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(may(&nothing, public), "{public}");
        }
        for hidden in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!may(&nothing, hidden), "{hidden}");
        }
    }

    #[test]
    fn the_settings_allow_hosts_addresses_and_networks() {
        let allowed = Allowed::new(&["Hooks.internal".into(), "10.1.0.0/16".into(), "127.0.0.1".into(), "::1".into()]);
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "127.0.0.1", "::1"] {
            assert!(may(&allowed, address), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.2"] {
            assert!(!may(&allowed, address), "{address}");
        }
        assert!(allowed.host("hooks.INTERNAL") && allowed.host("hooks.internal."));
        assert!(!allowed.host("evil.hooks.internal"));
    }

    #[test]
    fn an_address_has_a_plain_form() {
        for url in ["http://a.example/x?y=1", "https://1.1.1.1:8443/", "http://[2606:4700::1111]/"] {
            assert!(check_url(url).is_ok(), "{url}");
        }
        for url in ["", "x", "ftp://a/", "file:///etc/passwd", "http://u@a/", "http://u:p@a/", "http://", "gopher://a"]
        {
            assert!(check_url(url).is_err(), "{url}");
        }
        // Spellings of 127.0.0.1 that URLs allow.
        for url in [
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://[::ffff:7f00:1]/",
            "http://①②⑦.0.0.1/",
        ] {
            let address = literal(&check_url(url).expect("a URL")).expect("an address");
            assert!(!Allowed::default().address(address), "{url}");
        }
    }
}
