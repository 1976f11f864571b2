//! More than the limits allow. The bench's gateway takes headers of 16 KiB and bodies of 100 KiB.

use super::{Case, Expect::Unfinished, case, forwarded, refused};

pub fn cases() -> Vec<Case> {
    let get = |rest: &str| format!("GET /files/x HTTP/1.1\r\nHost: site\r\n{rest}\r\n");
    let post = |length: usize| format!("POST /files/x HTTP/1.1\r\nHost: site\r\nContent-Length: {length}\r\n\r\n");
    let chunked = "POST /files/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "b".repeat(100 * 1024);
    vec![
        case(
            "a header just within",
            get(&format!("X-A: {}\r\n", "a".repeat(15 * 1024))),
            forwarded("GET", "/files/x", ""),
        ),
        case("a header beyond", get(&format!("X-A: {}\r\n", "a".repeat(17 * 1024))), refused(431)),
        case(
            "many headers beyond",
            get(&"X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(220)),
            refused(431),
        ),
        case("more headers than anybody sends", get(&"X-A: a\r\n".repeat(300)), refused(400)),
        case(
            "a header without end",
            format!("GET /files/x HTTP/1.1\r\nX-A: {}", "a".repeat(1100 * 1024)),
            refused(400),
        ),
        case("a name beyond", get(&format!("{}: b\r\n", "a".repeat(70 * 1024))), refused(400)),
        case(
            "a target beyond",
            format!("GET /files/{} HTTP/1.1\r\nHost: site\r\n\r\n", "a".repeat(17 * 1024)),
            refused(431),
        ),
        case(
            "a query beyond",
            format!("GET /files/x?{} HTTP/1.1\r\nHost: site\r\n\r\n", "a".repeat(70 * 1024)),
            refused(400),
        ),
        case(
            "a method beyond",
            format!("{} /files/x HTTP/1.1\r\nHost: site\r\n\r\n", "A".repeat(17 * 1024)),
            refused(400),
        ),
        case("a body of just the limit", post(body.len()) + &body, forwarded("POST", "/files/x", &body)),
        case("a length beyond", post(body.len() + 1), refused(413)),
        case(
            "chunks of just the limit",
            format!("{chunked}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
            forwarded("POST", "/files/x", &body),
        ),
        case("chunks beyond", format!("{chunked}{:x}\r\n{body}a\r\n0\r\n\r\n", body.len() + 1), refused(413)),
        case("a chunk extension without end", format!("{chunked}1;{}", "a".repeat(1024 * 1024)), refused(400)),
        case("trailers without end", format!("{chunked}0\r\nX-A: {}", "a".repeat(1024 * 1024)), Unfinished),
        case(
            "a thousand chunks of one byte",
            format!("{chunked}{}0\r\n\r\n", "1\r\na\r\n".repeat(1_000)),
            forwarded("POST", "/files/x", "a".repeat(1_000)),
        ),
    ]
}
