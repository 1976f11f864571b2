//! Who or what a budget belongs to.

use std::{
    borrow::Cow,
    fmt::Write as _,
    net::{IpAddr, Ipv6Addr},
};

use sha2::{Digest, Sha256};

use super::policy::Counts;

/// What is known of a request when it is counted.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The name of its route.
    pub route: &'a str,
    /// Its key, where the route has one and the request carries it.
    pub key: Option<&'a str>,
    /// The client's address, behind trusted proxies.
    pub client: Option<IpAddr>,
    /// Who asks, once that is proven.
    pub identity: Option<&'a str>,
}

/// What one policy counts a request for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Subject<'a> {
    Text(&'a str),
    V4([u8; 4]),
    /// The first 64 bits: a client that has one address of a /64 has them all.
    V6(u64),
}

/// Whatever carries no key, no address or no identity is counted together.
const NOBODY: Subject<'static> = Subject::Text("");

/// The longest text that stands in Redis as it is.
const MAX_PLAIN_BYTES: usize = 64;

impl<'a> Subject<'a> {
    pub(super) fn of(counts: Counts, caller: &Caller<'a>) -> Self {
        match counts {
            Counts::Key => caller.key.map_or(NOBODY, Subject::Text),
            Counts::Route => Subject::Text(caller.route),
            Counts::Identity => caller.identity.map_or(NOBODY, Subject::Text),
            Counts::Client => caller.client.map_or(NOBODY, |client| match client.to_canonical() {
                IpAddr::V4(address) => Subject::V4(address.octets()),
                IpAddr::V6(address) => Subject::V6(u64::try_from(address.to_bits() >> 64).expect("half of 128 bits")),
            }),
        }
    }

    /// The name that an override gives it: a key as it is, `192.0.2.1`, `2001:db8::/64`.
    pub(super) fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::V4(octets) => Cow::Owned(IpAddr::from(octets).to_string()),
            Self::V6(network) => {
                let network = Ipv6Addr::from_bits(u128::from(network) << 64);
                Cow::Owned(format!("{network}/64"))
            }
        }
    }

    /// Its part of a key in Redis. Short plain text stands as it is, for whoever looks into Redis;
    /// anything else by its hash, so that no key is long and none can close the braces around it.
    pub(super) fn write_redis(self, out: &mut String) {
        let text = self.text();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        if (1..=MAX_PLAIN_BYTES).contains(&text.len()) && text.bytes().all(plain) {
            out.push_str(&text);
        } else {
            out.push('#');
            for byte in &Sha256::digest(text.as_bytes())[..16] {
                write!(out, "{byte:02x}").expect("a string takes it");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(client: Option<&str>) -> Caller<'static> {
        let client = client.map(|address| address.parse().expect("an address"));
        Caller { route: "invoke", key: Some("fn-1"), client, identity: None }
    }

    #[test]
    fn each_policy_counts_what_it_says() {
        let text = |counts, client| Subject::of(counts, &caller(client)).text().into_owned();
        assert_eq!(text(Counts::Key, None), "fn-1");
        assert_eq!(text(Counts::Route, None), "invoke");
        assert_eq!(text(Counts::Identity, None), "");
        assert_eq!(text(Counts::Client, None), "");
        assert_eq!(text(Counts::Client, Some("192.0.2.1")), "192.0.2.1");
        assert_eq!(text(Counts::Client, Some("::ffff:192.0.2.1")), "192.0.2.1", "one client, however it connects");
        assert_eq!(text(Counts::Client, Some("2001:db8:1:2:3:4:5:6")), "2001:db8:1:2::/64");
        let same = |one, other| {
            Subject::of(Counts::Client, &caller(Some(one))) == Subject::of(Counts::Client, &caller(Some(other)))
        };
        assert!(same("2001:db8::1", "2001:db8::ffff:1") && !same("2001:db8::1", "2001:db8:0:1::1"));
    }

    #[test]
    fn no_text_makes_another_key_in_redis_than_its_own() {
        let written = |text: &str| {
            let mut out = String::new();
            Subject::Text(text).write_redis(&mut out);
            out
        };
        assert_eq!(written("0193a1b2-7c3d:a/b.c_d"), "0193a1b2-7c3d:a/b.c_d");
        let hostile =
            ["", "a}b", "{a}", "a b", "a\nb", "a\0b", "é", "#", &"k".repeat(65), &"k".repeat(66), &"k".repeat(1 << 20)];
        let all: std::collections::HashSet<_> = hostile.into_iter().map(written).collect();
        assert_eq!(all.len(), hostile.len());
        assert!(all.iter().all(|key| key.len() == 33 && key.starts_with('#')), "{all:?}");
    }
}
