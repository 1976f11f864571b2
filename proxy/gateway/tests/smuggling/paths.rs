//! Paths that one server reads as another path: RFC 3986, sections 2 and 6.

use super::{Case, case, forwarded, refused};

pub fn cases() -> Vec<Case> {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: site\r\n\r\n");
    vec![
        case("a plain one", get("/files/a/b"), forwarded("GET", "/files/a/b", "")),
        case("a query", get("/files/a?b=c&d=%2f..%2f"), forwarded("GET", "/files/a?b=c&d=%2f..%2f", "")),
        case("an encoded letter", get("/files/%61"), forwarded("GET", "/files/%61", "")),
        case("an encoded space", get("/files/a%20b"), forwarded("GET", "/files/a%20b", "")),
        case("two dots", get("/files/../admin"), refused(400)),
        case("two dots at the end", get("/files/a/.."), refused(400)),
        case("one dot", get("/files/./a"), refused(400)),
        case("encoded dots", get("/files/%2e%2e/admin"), refused(400)),
        case("encoded dots in capitals", get("/files/%2E%2E/admin"), refused(400)),
        case("one encoded dot", get("/files/.%2e/admin"), refused(400)),
        case("an encoded slash", get("/files%2fadmin"), refused(400)),
        case("an encoded slash in capitals", get("/files/a%2Fb"), refused(400)),
        case("dots and an encoded slash", get("/files/..%2fadmin"), refused(400)),
        case("an encoded backslash", get("/files/..%5cadmin"), refused(400)),
        case("a backslash", get("/files\\..\\admin"), refused(400)),
        case("an encoding of an encoding", get("/files/%252e%252e/admin"), refused(400)),
        case("an encoded zero", get("/files/a%00b"), refused(400)),
        case("an encoded line end", get("/files/a%0d%0aX-A:%20b"), refused(400)),
        case("an encoded tab", get("/files/a%09b"), refused(400)),
        case("half an encoding", get("/files/a%2"), refused(400)),
        case("a lone percent", get("/files/a%"), refused(400)),
        case("an encoding that is none", get("/files/a%zz"), refused(400)),
        case("an overlong encoding of a dot", get("/files/%c0%ae%c0%ae/admin"), refused(400)),
        case("an overlong encoding of a slash", get("/files/..%c0%afadmin"), refused(400)),
        case("a full-width slash", get("/files/..%ef%bc%8fadmin"), forwarded("GET", "/files/..%ef%bc%8fadmin", "")),
        case("two slashes", get("/files//a"), refused(400)),
        case("a slash at the end", get("/files/a/"), forwarded("GET", "/files/a/", "")),
        case("a parameter of a segment", get("/files/..;/admin"), refused(400)),
        case("a fragment", get("/files/a#b"), refused(400)),
        case("letters that are not ASCII", get("/files/\u{e9}"), refused(400)),
        case("a quote", get("/files/\"a\""), forwarded("GET", "/files/\"a\"", "")),
        case("angle brackets", get("/files/<a>"), refused(400)),
        case("a question mark in a query", get("/files/a?b?c"), forwarded("GET", "/files/a?b?c", "")),
        case("dots in a query", get("/files/a?../b"), forwarded("GET", "/files/a?../b", "")),
        case("the asterisk", "OPTIONS * HTTP/1.1\r\nHost: site\r\n\r\n", refused(400)),
        case("an empty target", "GET  HTTP/1.1\r\nHost: site\r\n\r\n", refused(400)),
    ]
}
