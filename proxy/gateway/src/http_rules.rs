//! What HTTP leaves to choice, refused where two servers may choose differently.
//!
//! A message that the gateway reads in one way and the upstream, or a proxy in front, in another is
//! a way to smuggle a request past routes, limits and logs. pingora refuses much of that while it
//! parses. These rules refuse the rest before anything is sent. Each names the section that allows
//! the refusal or demands it. `tests/smuggling` holds the requests they were found with.

use bytes::Bytes;
use http::{Method, StatusCode, Version, header};
use memchr::{memchr, memchr_iter};
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};

use crate::{
    forwarding,
    refusal::{Refusal, Refused},
};

/// The longest method that is forwarded. The longest that is registered has 17 letters.
const MAX_METHOD_BYTES: usize = 32;

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpProblem {
    /// RFC 9112, section 2.2: a lone LF may be taken for the end of a line, or not.
    #[error("a line ends in LF without CR")]
    LineEnd,
    /// RFC 9112, section 3.2: an upstream's host, a URI of another scheme, or nothing.
    #[error("the target is no path on this host")]
    Target,
    /// RFC 9110, section 4.2.3: what follows `#` is not for servers.
    #[error("the target has a fragment")]
    Fragment,
    /// RFC 9112, section 3.2: exactly one Host, in HTTP/1.0 too, because the upstream gets HTTP/1.1.
    #[error("the request needs one Host that is a name or address, and a port if any")]
    Host,
    /// RFC 9110, section 8.6: repeated lengths may be refused even when they agree.
    #[error("the request needs one Content-Length of digits only, if any")]
    Length,
    /// RFC 9112, section 7: the gateway knows one coding; RFC 9112, section 6.1: not twice.
    #[error("the request may have one Transfer-Encoding, which is chunked")]
    Coding,
    /// RFC 9112, section 6.1: a server may refuse a message with both.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// `Content_Length` becomes the same variable as `Content-Length` where headers become
    /// variables (RFC 3875, section 4.1.18).
    #[error("a header is spelled like one that only a client's connection or the gateway may set")]
    Lookalike,
    /// RFC 9110, section 7.6.1: a field that is needed beyond the connection is not for `Connection`.
    #[error("Connection names a header that is not for one connection only")]
    Nomination,
    /// RFC 9110, section 7.8: only WebSocket (RFC 6455, section 4.1) is passed through.
    #[error("the gateway passes upgrades to websocket only: GET, without a body, with Connection: Upgrade")]
    Upgrade,
    /// RFC 9110, section 10.1.1.
    #[error("the gateway knows no expectation but 100-continue")]
    Expectation,
    /// RFC 9110, section 9.3.6 and 9.3.8: CONNECT asks for a tunnel; TRACE shows what proxies add.
    #[error("the method is not forwarded")]
    Method,
    /// RFC 9110, section 9.1: methods are short.
    #[error("the method is too long")]
    MethodLength,
}

impl From<HttpProblem> for Refused {
    fn from(problem: HttpProblem) -> Self {
        let refusal = match problem {
            HttpProblem::Method => Refusal::MethodNotForwarded,
            HttpProblem::Expectation => Refusal::UnknownExpectation,
            _ => Refusal::InvalidRequest,
        };
        Self { refusal, answer: refusal.answer_saying(&problem.to_string()) }
    }
}

/// Refuses what is ambiguous, and writes in one way what may be written in several.
pub(crate) fn apply(session: &mut Session) -> std::result::Result<(), HttpProblem> {
    if !session.is_http2() {
        let raw = session.to_h1_raw();
        check_line_ends(&raw)?;
        check_fragment(&raw)?;
        let request = session.req_header();
        if request.headers.contains_key(header::TRANSFER_ENCODING) && has_length(&raw) {
            // pingora has taken the length away by now.
            return Err(HttpProblem::LengthAndCoding);
        }
    }
    let request = session.req_header_mut();
    check_method(&request.method)?;
    normalize_target(request)?;
    check_host(request)?;
    check_framing(request)?;
    check_names(request)?;
    check_expectation(request)?;
    check_upgrade(request)
}

fn check_line_ends(raw: &[u8]) -> std::result::Result<(), HttpProblem> {
    let bare = |at: usize| at == 0 || raw[at - 1] != b'\r';
    if memchr_iter(b'\n', raw).any(bare) { Err(HttpProblem::LineEnd) } else { Ok(()) }
}

/// Looks at the request line itself: pingora takes a fragment away.
fn check_fragment(raw: &[u8]) -> std::result::Result<(), HttpProblem> {
    let line = memchr(b'\n', raw).map_or(raw, |end| &raw[..end]);
    if memchr(b'#', line).is_some() { Err(HttpProblem::Fragment) } else { Ok(()) }
}

/// Whether a header line begins with `Content-Length:`.
fn has_length(raw: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length:";
    memchr_iter(b'\n', raw)
        .any(|end| raw[end + 1..].get(..NAME.len()).is_some_and(|line| line.eq_ignore_ascii_case(NAME)))
}

fn check_method(method: &Method) -> std::result::Result<(), HttpProblem> {
    match method.as_str() {
        "CONNECT" | "TRACE" | "TRACK" | "PRI" => Err(HttpProblem::Method),
        method if method.len() > MAX_METHOD_BYTES => Err(HttpProblem::MethodLength),
        _ => Ok(()),
    }
}

/// Makes `http://host/path` the path, when the host is the one in `Host`. pingora has compared them.
fn normalize_target(request: &mut RequestHeader) -> std::result::Result<(), HttpProblem> {
    let raw = request.raw_path();
    if raw.first() == Some(&b'/') {
        // Two slashes begin a host in a URI reference (RFC 3986, section 4.2).
        return if raw.starts_with(b"//") { Err(HttpProblem::Target) } else { Ok(()) };
    }
    let path = path_of_absolute(raw).filter(|_| request.headers.contains_key(header::HOST));
    let path = path.ok_or(HttpProblem::Target)?;
    request.set_raw_path(&path).map_err(|_| HttpProblem::Target)
}

/// What follows the authority of an `http` or `https` URI.
fn path_of_absolute(target: &[u8]) -> Option<Vec<u8>> {
    let rest = [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })?;
    Some(match rest.iter().position(|byte| b"/?".contains(byte)) {
        Some(at) if rest[at] == b'/' => rest[at..].to_vec(),
        Some(at) => [b"/", &rest[at..]].concat(),
        None => b"/".to_vec(),
    })
}

fn check_host(request: &RequestHeader) -> std::result::Result<(), HttpProblem> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next(), request.uri.authority()) {
        (Some(host), None, _) => host.as_bytes(),
        (None, _, Some(authority)) => authority.as_str().as_bytes(),
        _ => return Err(HttpProblem::Host),
    };
    if is_host(host) { Ok(()) } else { Err(HttpProblem::Host) }
}

/// A name or an address, and a port (RFC 9110, section 7.2), without what has a meaning in other
/// parts of a URI.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.iter().rposition(|&byte| byte == b':') {
        Some(at) if !host.ends_with(b"]") => (&host[..at], Some(&host[at + 1..])),
        _ => (host, None),
    };
    let port_is_good = port.is_none_or(|port| {
        let digits = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
        digits && std::str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok())
    });
    let name_is_good = match name.strip_prefix(b"[") {
        Some(rest) => rest.strip_suffix(b"]").is_some_and(|address| {
            !address.is_empty() && address.iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte))
        }),
        None => !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte)),
    };
    name_is_good && port_is_good
}

fn check_framing(request: &RequestHeader) -> std::result::Result<(), HttpProblem> {
    let mut lengths = request.headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        if !digits || lengths.next().is_some() {
            return Err(HttpProblem::Length);
        }
    }
    let mut codings = request.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (!coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
    {
        return Err(HttpProblem::Coding);
    }
    Ok(())
}

/// What a header must not be spelled like, beside what the gateway sets.
const ONE_SPELLING: [&str; 8] =
    ["connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"];

fn check_names(request: &RequestHeader) -> std::result::Result<(), HttpProblem> {
    for name in request.headers.keys() {
        if name.as_str().bytes().any(|byte| !byte.is_ascii_alphanumeric() && byte != b'-')
            && is_lookalike(name.as_str())
        {
            return Err(HttpProblem::Lookalike);
        }
    }
    for nominated in request.headers.get_all(header::CONNECTION) {
        let names = nominated.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        for name in names {
            let needed = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
            if ["host", "content-length", "transfer-encoding", "content-type", "authorization", "cookie"]
                .into_iter()
                .any(needed)
            {
                return Err(HttpProblem::Nomination);
            }
        }
    }
    Ok(())
}

fn is_lookalike(name: &str) -> bool {
    let plain: String = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    ONE_SPELLING.contains(&plain.as_str()) || forwarding::is_our_name(&plain)
}

fn check_expectation(request: &RequestHeader) -> std::result::Result<(), HttpProblem> {
    let known = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    let mut expected = request.headers.get_all(header::EXPECT).iter();
    if expected.all(known) { Ok(()) } else { Err(HttpProblem::Expectation) }
}

/// Lets WebSocket through, takes away what is to be ignored, and refuses the rest.
fn check_upgrade(request: &mut RequestHeader) -> std::result::Result<(), HttpProblem> {
    let mut wanted = request.headers.get_all(header::UPGRADE).iter();
    let Some(protocol) = wanted.next() else { return Ok(()) };
    let only = wanted.next().is_none();
    let ignored = request.version != Version::HTTP_11 || protocol.as_bytes().eq_ignore_ascii_case(b"h2c");
    if only && ignored {
        // HTTP/1.0 has no upgrades, and HTTP/2 is not begun this way any more (RFC 9113, section 3.1).
        request.remove_header(&header::UPGRADE);
        request.remove_header("http2-settings");
        return Ok(());
    }
    let nominated = request.headers.get_all(header::CONNECTION).iter().any(|value| {
        value.as_bytes().split(|&byte| byte == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let length = request.headers.get(header::CONTENT_LENGTH);
    let no_body = length.is_none_or(|length| length == "0") && !request.headers.contains_key(header::TRANSFER_ENCODING);
    let websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket") && request.method == Method::GET;
    if only && nominated && no_body && websocket { Ok(()) } else { Err(HttpProblem::Upgrade) }
}

/// Takes away the last piece of a body when it is empty. HTTP/2 may end a body so, and pingora 0.9.1
/// writes it to an HTTP/1.1 upstream as an empty chunk, which is the end, and then the end (its
/// issue 935): the upstream would take the second end for the start of a request. Only the last:
/// pingora takes a missing piece for the end wherever it is missing.
pub(crate) fn drop_empty_end(piece: &mut Option<Bytes>, end: bool) {
    if end && piece.as_ref().is_some_and(Bytes::is_empty) {
        *piece = None;
    }
}

/// Refuses an answer that the client cannot be given: a switch of protocols that it did not ask for
/// (RFC 9110, section 15.2.2).
pub(crate) fn check_answer(request: &RequestHeader, answer: &ResponseHeader) -> Result<()> {
    if answer.status == StatusCode::SWITCHING_PROTOCOLS && !request.headers.contains_key(header::UPGRADE) {
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, "101 to a request without an upgrade").into_up());
    }
    Ok(())
}

/// Makes an answer one that a client of HTTP/1.0 can read: it knows no chunks, so the end of the
/// connection is the end of the body (RFC 9112, section 6.1). `true` when that is so.
pub(crate) fn fit_answer(request: &RequestHeader, answer: &mut ResponseHeader) -> bool {
    let chunks_to_old_client =
        request.version < Version::HTTP_11 && answer.headers.contains_key(header::TRANSFER_ENCODING);
    if chunks_to_old_client {
        answer.remove_header(&header::TRANSFER_ENCODING);
    }
    chunks_to_old_client
}

/// Whether the client has been given an answer, or its connection another protocol. Informational
/// answers come before the answer.
pub(crate) fn has_begun(written: Option<&ResponseHeader>) -> bool {
    written.is_some_and(|answer| !answer.status.is_informational() || answer.status == StatusCode::SWITCHING_PROTOCOLS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build(method, target.as_bytes(), None).expect("a request");
        for (name, value) in headers {
            request.append_header(*name, *value).expect("a header");
        }
        request
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for host in
            ["site", "site.example.org", "a_b", "site:8080", "127.0.0.1:80", "[::1]", "[::1]:80", "[::ffff:1.2.3.4]"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":80",
            "site:",
            "site:65536",
            "site:8o",
            "a:b:1",
            "[::1",
            "[]",
            "::1]",
            "a b",
            "a,b",
            "a/b",
            "a@b",
            "a\\b",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn lines_end_in_both_bytes() {
        assert_eq!(check_line_ends(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(()));
        for raw in [&b"\nGET / HTTP/1.1\r\n\r\n"[..], b"GET / HTTP/1.1\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\n\n"] {
            assert_eq!(check_line_ends(raw), Err(HttpProblem::LineEnd));
        }
    }

    #[test]
    fn a_fragment_is_found_in_the_request_line_only() {
        assert_eq!(check_fragment(b"GET /a#b HTTP/1.1\r\n\r\n"), Err(HttpProblem::Fragment));
        assert_eq!(check_fragment(b"GET /a HTTP/1.1\r\nX: #b\r\n\r\n"), Ok(()));
    }

    #[test]
    fn a_length_is_found_beside_a_coding() {
        assert!(has_length(b"POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 5\r\n\r\n"));
        assert!(!has_length(b"POST / HTTP/1.1\r\nHost: a\r\nX-Content-Length: 5\r\n\r\n"));
    }

    #[test]
    fn a_whole_address_becomes_its_path() {
        for (target, path) in [("http://site/a?b", "/a?b"), ("HTTPS://site", "/"), ("http://site?b", "/?b")] {
            let mut good = request("GET", target, &[("host", "site")]);
            assert_eq!(normalize_target(&mut good), Ok(()));
            assert_eq!(good.raw_path(), path.as_bytes());
        }
        for target in ["ftp://site/a", "//site/a", "*", "site/a", "http:/site/a"] {
            assert!(normalize_target(&mut request("GET", target, &[("host", "site")])).is_err(), "{target}");
        }
        assert!(normalize_target(&mut request("GET", "http://site/a", &[])).is_err());
    }

    #[test]
    fn only_an_upgrade_to_websocket_is_passed() {
        let websocket = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert_eq!(check_upgrade(&mut request("GET", "/", &websocket)), Ok(()));
        assert_eq!(check_upgrade(&mut request("POST", "/", &websocket)), Err(HttpProblem::Upgrade));
        assert_eq!(check_upgrade(&mut request("GET", "/", &websocket[1..])), Err(HttpProblem::Upgrade));
        let mut h2c = request("GET", "/", &[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")]);
        assert_eq!(check_upgrade(&mut h2c), Ok(()));
        assert!(!h2c.headers.contains_key(header::UPGRADE));
    }

    #[test]
    fn a_name_has_one_spelling() {
        for name in ["content_length", "transfer_encoding", "x_forwarded_for", "x.request.id"] {
            assert_eq!(check_names(&request("GET", "/", &[(name, "1")])), Err(HttpProblem::Lookalike), "{name}");
        }
        for name in ["content-length", "x_api_key", "x-forwarded-for"] {
            assert_eq!(check_names(&request("GET", "/", &[(name, "1")])), Ok(()), "{name}");
        }
    }
}
