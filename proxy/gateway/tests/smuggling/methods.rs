//! Methods: RFC 9110, section 9.

use super::{Case, case, forwarded, refused};

pub fn cases() -> Vec<Case> {
    let request =
        |method: &str, target: &str, rest: &str| format!("{method} {target} HTTP/1.1\r\nHost: site\r\n{rest}\r\n");
    vec![
        case("HEAD", request("HEAD", "/files/x", ""), forwarded("HEAD", "/files/x", "")),
        case("OPTIONS", request("OPTIONS", "/files/x", ""), forwarded("OPTIONS", "/files/x", "")),
        case(
            "DELETE with a body",
            request("DELETE", "/files/x", "Content-Length: 2\r\n") + "hi",
            forwarded("DELETE", "/files/x", "hi"),
        ),
        case(
            "PATCH",
            request("PATCH", "/files/x", "Content-Length: 2\r\n") + "hi",
            forwarded("PATCH", "/files/x", "hi"),
        ),
        case("a method of WebDAV", request("PROPFIND", "/files/x", ""), forwarded("PROPFIND", "/files/x", "")),
        case("a method that nobody knows", request("FROB", "/files/x", ""), forwarded("FROB", "/files/x", "")),
        case("a method in small letters", request("get", "/files/x", ""), forwarded("get", "/files/x", "")),
        case("CONNECT to a host", request("CONNECT", "site:443", ""), refused(405)),
        case("CONNECT to a path", request("CONNECT", "/files/x", ""), refused(405)),
        case("CONNECT with a body", request("CONNECT", "site:443", "Content-Length: 2\r\n") + "hi", refused(405)),
        case("TRACE", request("TRACE", "/files/x", ""), refused(405)),
        case("TRACK", request("TRACK", "/files/x", ""), refused(405)),
        case("the preface of HTTP/2 as a method", request("PRI", "/files/x", ""), refused(405)),
        case("an empty method", request("", "/files/x", ""), refused(400)),
        case("a method with a colon", request("GE:T", "/files/x", ""), refused(400)),
        case("a method with a bracket", request("GE(T", "/files/x", ""), refused(400)),
        case("a method with a zero byte", request("GE\0T", "/files/x", ""), refused(400)),
        case("a method that is not ASCII", request("G\u{cb}T", "/files/x", ""), refused(400)),
    ]
}
