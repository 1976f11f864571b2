//! What concerns one connection only: RFC 9110, sections 7.6 and 7.8, RFC 9112, section 9.

use super::{Case, case, forwarded, refused};

pub fn cases() -> Vec<Case> {
    let get = |rest: &str| format!("GET /files/x HTTP/1.1\r\nHost: site\r\n{rest}\r\n");
    let post = |rest: &str| format!("POST /files/x HTTP/1.1\r\nHost: site\r\n{rest}");
    let passes = || forwarded("GET", "/files/x", "");
    vec![
        case("close", get("Connection: close\r\n"), passes()),
        case("keep-alive", get("Connection: keep-alive\r\n"), passes()),
        case("keep-alive with a time", get("Connection: keep-alive\r\nKeep-Alive: timeout=600\r\n"), passes()),
        case("the host nominated away", get("Connection: host\r\n"), refused(400)),
        case(
            "the length nominated away",
            post("Connection: content-length\r\nContent-Length: 5\r\n\r\nhello"),
            refused(400),
        ),
        case(
            "the coding nominated away",
            post("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            refused(400),
        ),
        case("a header nominated away", get("Connection: x-a\r\nX-A: b\r\n"), passes()),
        case("the gateway's header nominated away", get("Connection: x-forwarded-for\r\n"), refused(400)),
        case("an upgrade to what nobody asked for", get("Connection: upgrade\r\nUpgrade: smuggle\r\n"), refused(400)),
        case(
            "an upgrade to HTTP/2",
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
            passes(),
        ),
        case("an upgrade to TLS", get("Connection: upgrade\r\nUpgrade: TLS/1.2\r\n"), refused(400)),
        case("an upgrade without Connection", get("Upgrade: websocket\r\n"), refused(400)),
        case("an upgrade to two protocols", get("Connection: upgrade\r\nUpgrade: websocket, h2c\r\n"), refused(400)),
        case(
            "an upgrade with a body",
            post("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello"),
            refused(400),
        ),
        case(
            "an upgrade in HTTP/1.0",
            "GET /files/x HTTP/1.0\r\nHost: site\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            passes(),
        ),
        case("a proxy's connection", get("Proxy-Connection: keep-alive\r\n"), passes()),
        case("TE", get("TE: trailers\r\n"), passes()),
        case(
            "an expectation",
            post("Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"),
            forwarded("POST", "/files/x", "hi"),
        ),
        case("an expectation that nobody knows", post("Expect: 200-ok\r\nContent-Length: 2\r\n\r\nhi"), refused(417)),
        case("an expectation without a body", get("Expect: 100-continue\r\n"), passes()),
        case("HTTP/1.0", "GET /files/x HTTP/1.0\r\nHost: site\r\n\r\n", passes()),
        case(
            "HTTP/1.0 with keep-alive",
            "GET /files/x HTTP/1.0\r\nHost: site\r\nConnection: keep-alive\r\n\r\n",
            passes(),
        ),
    ]
}
