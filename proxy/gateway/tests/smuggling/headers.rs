//! Names and values of headers: RFC 9110, section 5.

use super::{Case, case, forwarded, refused};

pub fn cases() -> Vec<Case> {
    let get = |rest: &str| format!("GET /files/x HTTP/1.1\r\nHost: site\r\n{rest}\r\n");
    let passes = || forwarded("GET", "/files/x", "");
    vec![
        case("every character that a name may have", get("!#$%&'*+-.^`|~9A: b\r\n"), passes()),
        case("an empty value", get("X-A:\r\n"), passes()),
        case("the same name twice", get("X-A: b\r\nX-A: c\r\n"), passes()),
        case("a colon in a value", get("X-A: b: c\r\n"), passes()),
        case("an empty name", get(": b\r\n"), refused(400)),
        case("no colon", get("X-A\r\n"), refused(400)),
        case("a name in brackets", get("X(A): b\r\n"), refused(400)),
        case("a name with a quote", get("X\"A: b\r\n"), refused(400)),
        case("a name with a slash", get("X/A: b\r\n"), refused(400)),
        case("a name with a comma", get("X,A: b\r\n"), refused(400)),
        case("a name with an at sign", get("X@A: b\r\n"), refused(400)),
        case("a name that is not ASCII", get("X-\u{e9}: b\r\n"), refused(400)),
        case("a value that is not ASCII", get("X-A: \u{e9}\r\n"), passes()),
        case("a pseudo-header of HTTP/2", get(":path: /files/smuggled\r\n"), refused(400)),
        case("a name like that of a gateway's header", get("X_Request_Id: b\r\n"), refused(400)),
        case("an underscore in a name", get("X_A: b\r\n"), passes()),
        case("an address to rewrite to", get("X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n"), passes()),
        case("another method in a header", get("X-HTTP-Method-Override: DELETE\r\n"), passes()),
    ]
}
