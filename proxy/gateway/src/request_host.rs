//! The host of a request in the one form that routing looks at.
//!
//! A name has no case, a port says nothing about it, and one dot at its end changes nothing, so all
//! three are taken away before matching. An IPv6 literal is compared as an address. Whatever is no
//! host name, IPv4 address or bracketed IPv6 address is refused: two programs could read it in two
//! ways. That `Host`, `:authority` and an absolute request target agree is pingora's own check, made
//! before this one (RFC 9112 section 3.2, RFC 9113 section 8.3.1).

use std::{borrow::Cow, net::Ipv6Addr};

use http::header;
use pingora::http::RequestHeader;

/// No host name is longer (RFC 1035 section 2.3.4).
const MAX_NAME_BYTES: usize = 253;

/// What stands for a host is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no host name or address")]
pub struct HostProblem;

/// The host that a request names, in its one form. `None` when it names none, as HTTP/1.0 may.
///
/// # Errors
/// When what it names is no host.
pub(crate) fn request_host(request: &RequestHeader) -> Result<Option<Cow<'_, str>>, HostProblem> {
    // HTTP/2 has the authority in the target; in HTTP/1 it is there only in the absolute form, which
    // then equals `Host`.
    let authority = match request.headers.get(header::HOST) {
        Some(host) => host.to_str().map_err(|_| HostProblem)?,
        None => match request.uri.authority() {
            Some(authority) => authority.as_str(),
            None => return Ok(None),
        },
    };
    canonical_host(authority).map(Some)
}

/// A host with or without a port, in its one form: lower case, no port, no dot at the end.
///
/// # Errors
/// When it is no host.
pub fn canonical_host(authority: &str) -> Result<Cow<'_, str>, HostProblem> {
    if let Some(literal) = authority.strip_prefix('[') {
        let (address, port) = literal.split_once(']').ok_or(HostProblem)?;
        check_port(port)?;
        let address: Ipv6Addr = address.parse().map_err(|_| HostProblem)?;
        return Ok(Cow::Owned(format!("[{address}]")));
    }
    let end = authority.find(':').unwrap_or(authority.len());
    let (name, port) = authority.split_at(end);
    check_port(port)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let labelled = name.split('.').all(|label| !label.is_empty() && label.bytes().all(plain));
    if !labelled || name.len() > MAX_NAME_BYTES {
        return Err(HostProblem);
    }
    Ok(if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

/// Nothing, or a colon and up to five digits (which may be none: RFC 3986 section 3.2.3).
fn check_port(text: &str) -> Result<(), HostProblem> {
    let Some(digits) = text.strip_prefix(':') else {
        return if text.is_empty() { Ok(()) } else { Err(HostProblem) };
    };
    let fits = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if fits { Ok(()) } else { Err(HostProblem) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_form() {
        for (written, read) in [
            ("shop.example", "shop.example"),
            ("Shop.EXAMPLE:8443", "shop.example"),
            ("shop.example.", "shop.example"),
            ("shop.example.:80", "shop.example"),
            ("shop.example:", "shop.example"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("a_b-c", "a_b-c"),
            ("[::1]:8080", "[::1]"),
            ("[0:0::0:1]", "[::1]"),
            ("[2001:DB8::A]", "[2001:db8::a]"),
        ] {
            assert_eq!(canonical_host(written).as_deref(), Ok(read), "{written}");
            assert_eq!(canonical_host(read).as_deref(), Ok(read), "{read} is its own form");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = format!("{}.example", "a".repeat(253));
        for bad in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a..",
            ":80",
            "a:b",
            "a:80:80",
            "a:123456",
            "a b",
            "a/b",
            "a@b",
            "a%2eb",
            "caf\u{e9}",
            "a\\b",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:x",
            "[fe80::1%25eth0]",
            "[1.2.3.4]",
            "*.a",
            &long,
        ] {
            assert_eq!(canonical_host(bad), Err(HostProblem), "{bad:?}");
        }
    }
}
