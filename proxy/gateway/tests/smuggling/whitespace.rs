//! White space where none belongs: RFC 9112, sections 2.2, 3 and 5.

use super::{Case, case, forwarded, refused};

pub fn cases() -> Vec<Case> {
    let get = |rest: &str| format!("GET /files/x HTTP/1.1\r\nHost: site\r\n{rest}\r\n");
    let passes = || forwarded("GET", "/files/x", "");
    vec![
        case("a folded line", get("X-A: one\r\n two\r\n"), refused(400)),
        case("a line folded with a tab", get("X-A: one\r\n\ttwo\r\n"), refused(400)),
        case("a folded coding", get("X-A: one\r\n Transfer-Encoding: chunked\r\n"), refused(400)),
        case("a folded host", "GET /files/x HTTP/1.1\r\nHost:\r\n site\r\n\r\n", refused(400)),
        case("a fold before the first header", "GET /files/x HTTP/1.1\r\n X-A: b\r\nHost: site\r\n\r\n", refused(400)),
        case("a fold of nothing", get("X-A: one\r\n \r\n"), refused(400)),
        case("space before a colon", get("X-A : one\r\n"), refused(400)),
        case("a tab before a colon", get("X-A\t: one\r\n"), refused(400)),
        case(
            "space before the colon of a length",
            "POST /files/x HTTP/1.1\r\nHost: site\r\nContent-Length : 5\r\n\r\nhello",
            refused(400),
        ),
        case(
            "space before the colon of a coding",
            "POST /files/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            refused(400),
        ),
        case("space before a name", get(" X-A: one\r\n"), refused(400)),
        case("space within a name", get("X A: one\r\n"), refused(400)),
        case("a form feed before a value", get("X-A: \u{c}one\r\n"), refused(400)),
        case("space around a value", get("X-A: \t one \t\r\n"), passes()),
        case("no space before a value", get("X-A:one\r\n"), passes()),
        case("two spaces after the method", "GET  /files/x HTTP/1.1\r\nHost: site\r\n\r\n", refused(400)),
        case("a tab after the method", "GET\t/files/x HTTP/1.1\r\nHost: site\r\n\r\n", refused(400)),
        // Space in a target goes on as %20, so that what follows it stays in the target.
        case(
            "two spaces before the version",
            "GET /files/x  HTTP/1.1\r\nHost: site\r\n\r\n",
            forwarded("GET", "/files/x%20", ""),
        ),
        case("a tab before the version", "GET /files/x\tHTTP/1.1\r\nHost: site\r\n\r\n", refused(400)),
        case("space after the version", "GET /files/x HTTP/1.1 \r\nHost: site\r\n\r\n", refused(400)),
        case("space before the method", " GET /files/x HTTP/1.1\r\nHost: site\r\n\r\n", refused(400)),
        case(
            "space within the target",
            "GET /files/x /files/smuggled HTTP/1.1\r\nHost: site\r\n\r\n",
            forwarded("GET", "/files/x%20/files/smuggled", ""),
        ),
        case("a version within the target", "GET /files/x HTTP/1.1 HTTP/1.1\r\nHost: site\r\n\r\n", refused(400)),
        case("a no-break space within the target", "GET /files/x\u{a0}y HTTP/1.1\r\nHost: site\r\n\r\n", refused(400)),
    ]
}
