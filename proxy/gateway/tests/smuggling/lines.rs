//! The ends of lines, and where a request begins: RFC 9112, section 2.2.

use super::{Case, case, forwarded, refused};

pub fn cases() -> Vec<Case> {
    let passes = || forwarded("GET", "/files/x", "");
    vec![
        case("bare LF after the request line", "GET /files/x HTTP/1.1\nHost: site\r\n\r\n", refused(400)),
        case("bare LF after a header", "GET /files/x HTTP/1.1\r\nHost: site\nX-A: b\r\n\r\n", refused(400)),
        case("bare LF in every place", "GET /files/x HTTP/1.1\nHost: site\n\n", refused(400)),
        case("bare LF at the end", "GET /files/x HTTP/1.1\r\nHost: site\r\n\n", refused(400)),
        case("LF, then CRLF at the end", "GET /files/x HTTP/1.1\r\nHost: site\n\r\n", refused(400)),
        case(
            "bare LF hiding a coding",
            "POST /files/x HTTP/1.1\r\nHost: site\r\nX-A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            refused(400),
        ),
        case(
            "bare LF hiding a length",
            "POST /files/x HTTP/1.1\r\nHost: site\r\nX-A: b\nContent-Length: 5\r\n\r\nhello",
            refused(400),
        ),
        case("bare CR after a header", "GET /files/x HTTP/1.1\r\nHost: site\rX-A: b\r\n\r\n", refused(400)),
        case("bare CR within a value", "GET /files/x HTTP/1.1\r\nHost: site\r\nX-A: b\rc\r\n\r\n", refused(400)),
        case(
            "bare CR hiding a coding",
            "POST /files/x HTTP/1.1\r\nHost: site\r\nX-A: b\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            refused(400),
        ),
        case("two CR before a LF", "GET /files/x HTTP/1.1\r\nHost: site\r\r\n\r\n", refused(400)),
        case("a zero byte within a value", "GET /files/x HTTP/1.1\r\nHost: site\r\nX-A: b\0c\r\n\r\n", refused(400)),
        case("a zero byte within a name", "GET /files/x HTTP/1.1\r\nHost: site\r\nX\0A: b\r\n\r\n", refused(400)),
        case("a zero byte within the target", "GET /files/x\0y HTTP/1.1\r\nHost: site\r\n\r\n", refused(400)),
        case(
            "an escape byte within a value",
            "GET /files/x HTTP/1.1\r\nHost: site\r\nX-A: \u{1b}[0m\r\n\r\n",
            refused(400),
        ),
        case(
            "a delete byte within a value",
            "GET /files/x HTTP/1.1\r\nHost: site\r\nX-A: \u{7f}\r\n\r\n",
            refused(400),
        ),
        // Section 2.2: one empty line before a request line should be ignored.
        case("an empty line first", "\r\nGET /files/x HTTP/1.1\r\nHost: site\r\n\r\n", passes()),
        case("an empty line of bare LF first", "\nGET /files/x HTTP/1.1\r\nHost: site\r\n\r\n", refused(400)),
        case("HTTP/0.9", "GET /files/x\r\n\r\n", refused(400)),
        case("no request line", "Host: site\r\n\r\n", refused(400)),
        case("a version in small letters", "GET /files/x http/1.1\r\nHost: site\r\n\r\n", refused(400)),
        case("HTTP/1.2", "GET /files/x HTTP/1.2\r\nHost: site\r\n\r\n", refused(400)),
        case("HTTP/2.0 in the spelling of HTTP/1", "GET /files/x HTTP/2.0\r\nHost: site\r\n\r\n", refused(400)),
        case("HTTP/1.10", "GET /files/x HTTP/1.10\r\nHost: site\r\n\r\n", refused(400)),
        case("HTTP/01.1", "GET /files/x HTTP/01.1\r\nHost: site\r\n\r\n", refused(400)),
        case("another protocol", "GET /files/x SIP/1.1\r\nHost: site\r\n\r\n", refused(400)),
        case("TLS on a plain listener", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", refused(400)),
        case("HTTP/2 without h2c", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused(400)),
        case("only an empty line", "\r\n\r\n\0\0\0\0", refused(400)),
    ]
}
