//! Whom a request is for: RFC 9112, section 3.2, RFC 9110, section 7.2.

use super::{Case, case, forwarded, refused};

pub fn cases() -> Vec<Case> {
    let get = |target: &str, hosts: &str| format!("GET {target} HTTP/1.1\r\n{hosts}\r\n");
    let passes = || forwarded("GET", "/files/x", "");
    vec![
        case("no host", get("/files/x", ""), refused(400)),
        case("two hosts that differ", get("/files/x", "Host: site\r\nHost: other\r\n"), refused(400)),
        case("two hosts that agree", get("/files/x", "Host: site\r\nHost: site\r\n"), refused(400)),
        case("an empty host", get("/files/x", "Host: \r\n"), refused(400)),
        case("a list of hosts", get("/files/x", "Host: site, other\r\n"), refused(400)),
        case("a host with space", get("/files/x", "Host: site other\r\n"), refused(400)),
        case("a host with a path", get("/files/x", "Host: site/files\r\n"), refused(400)),
        case("a host with a query", get("/files/x", "Host: site?a\r\n"), refused(400)),
        case("a host with a fragment", get("/files/x", "Host: site#a\r\n"), refused(400)),
        case("a host with a user", get("/files/x", "Host: user@site\r\n"), refused(400)),
        case("a host with a backslash", get("/files/x", "Host: site\\other\r\n"), refused(400)),
        case(
            "a host that is no text",
            [b"GET /files/x HTTP/1.1\r\nHost: ".as_slice(), b"s\xffte\r\n\r\n"].concat(),
            refused(400),
        ),
        case("a host with a port", get("/files/x", "Host: site:8080\r\n"), passes().host("site:8080")),
        case("a host with an empty port", get("/files/x", "Host: site:\r\n"), refused(400)),
        case("a host with a port that is no number", get("/files/x", "Host: site:8o\r\n"), refused(400)),
        case("a host with a port too high", get("/files/x", "Host: site:65536\r\n"), refused(400)),
        case("a host with two ports", get("/files/x", "Host: site:80:80\r\n"), refused(400)),
        case("an address of IPv6", get("/files/x", "Host: [::1]:80\r\n"), passes().host("[::1]:80")),
        case("half an address of IPv6", get("/files/x", "Host: [::1\r\n"), refused(400)),
        case("no host in HTTP/1.0", "GET /files/x HTTP/1.0\r\n\r\n", refused(400)),
        case("the whole address as the target", get("http://site/files/x", "Host: site\r\n"), passes()),
        case("the whole address, https", get("https://site/files/x", "Host: site\r\n"), passes()),
        case("the whole address of another host", get("http://other/files/x", "Host: site\r\n"), refused(400)),
        case("the whole address without a host", get("http://site/files/x", ""), refused(400)),
        case("the whole address with a user", get("http://user@site/files/x", "Host: site\r\n"), refused(400)),
        case("the whole address without a path", get("http://site", "Host: site\r\n"), refused(404)),
        case("another scheme", get("ftp://site/files/x", "Host: site\r\n"), refused(400)),
        case("two slashes for a scheme", get("//site/files/x", "Host: site\r\n"), refused(400)),
        case("a host without a slash", get("site/files/x", "Host: site\r\n"), refused(400)),
        case("an underscore in the name", get("/files/x", "Host: site\r\nX_Forwarded_Host: other\r\n"), refused(400)),
    ]
}
