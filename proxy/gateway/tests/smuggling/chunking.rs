//! The spelling of chunks: RFC 9112, section 7.1. What reaches the upstream is chunked anew, so a
//! spelling that the gateway reads in one way only may pass.

use super::{Case, Expect::Unfinished, case, forwarded, refused};

pub fn cases() -> Vec<Case> {
    let chunks =
        |body: &str| format!("POST /files/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let passes = |body: &str| forwarded("POST", "/files/x", body);
    vec![
        case("several", chunks("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), passes("abc")),
        case("none", chunks("0\r\n\r\n"), passes("")),
        case("hexadecimal in capitals", chunks("A\r\n0123456789\r\n0\r\n\r\n"), passes("0123456789")),
        case("hexadecimal in small letters", chunks("a\r\n0123456789\r\n0\r\n\r\n"), passes("0123456789")),
        case("zeros before a size", chunks("0002\r\nhi\r\n0\r\n\r\n"), passes("hi")),
        case("zeros for the last size", chunks("2\r\nhi\r\n0000\r\n\r\n"), passes("hi")),
        case("a chunk that looks like the end", chunks("5\r\n0\r\n\r\n\r\n0\r\n\r\n"), passes("0\r\n\r\n")),
        case(
            "a chunk that looks like a request",
            chunks("1e\r\nGET /files/smuggled HTTP/1.1\r\n\r\n0\r\n\r\n"),
            passes("GET /files/smuggled HTTP/1.1\r\n"),
        ),
        case("an extension", chunks("2;name=value\r\nhi\r\n0\r\n\r\n"), passes("hi")),
        case("an extension in quotes", chunks("2;name=\"a;b\"\r\nhi\r\n0\r\n\r\n"), passes("hi")),
        case("an extension of the last chunk", chunks("2\r\nhi\r\n0;end\r\n\r\n"), passes("hi")),
        case("an extension with a bare LF", chunks("2;a\nhi\r\n0\r\n\r\n"), refused(400)),
        case("an extension with a bare CR", chunks("2;a\rb\r\nhi\r\n0\r\n\r\n"), refused(400)),
        case("a size in 0x", chunks("0x2\r\nhi\r\n0\r\n\r\n"), refused(400)),
        case("a size with a sign", chunks("+2\r\nhi\r\n0\r\n\r\n"), refused(400)),
        case("a negative size", chunks("-2\r\nhi\r\n0\r\n\r\n"), refused(400)),
        case("a size with an underscore", chunks("0_2\r\nhi\r\n0\r\n\r\n"), refused(400)),
        case("a size that is no number", chunks("zz\r\nhi\r\n0\r\n\r\n"), refused(400)),
        case("a size with space before it", chunks(" 2\r\nhi\r\n0\r\n\r\n"), refused(400)),
        case("a size beyond 64 bits", chunks("10000000000000002\r\nhi\r\n0\r\n\r\n"), refused(400)),
        case("a size of all ones", chunks("ffffffffffffffff\r\nhi\r\n0\r\n\r\n"), refused(400)),
        case("a size beyond the limit", chunks("fffffff\r\nhi"), Unfinished),
        case("bare LF after a size", chunks("2\nhi\r\n0\r\n\r\n"), refused(400)),
        case("bare LF after a chunk", chunks("2\r\nhi\n0\r\n\r\n"), refused(400)),
        case("bare CR after a chunk", chunks("2\r\nhi\r0\r\n\r\n"), refused(400)),
        case("bare LF at the end", chunks("2\r\nhi\r\n0\n\n"), refused(400)),
        case("a chunk longer than its size", chunks("2\r\nhigh\r\n0\r\n\r\n"), refused(400)),
        case("a chunk shorter than its size", chunks("4\r\nhi\r\n0\r\n\r\n"), refused(400)),
        case("no last chunk", chunks("2\r\nhi\r\n"), Unfinished),
        case("a last chunk without its end", chunks("2\r\nhi\r\n0\r\n"), Unfinished),
        // Trailers end at the gateway: RFC 9110, section 6.5.1 lets it leave them out.
        case("a trailer", chunks("2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"), passes("hi")),
        case("a trailer that looks like framing", chunks("2\r\nhi\r\n0\r\nContent-Length: 50\r\n\r\n"), passes("hi")),
        case(
            "a request in the place of trailers",
            chunks("0\r\nGET /files/smuggled HTTP/1.1\r\nHost: site\r\n\r\n"),
            passes(""),
        ),
        // pingora takes a size without digits for zero, and what follows for trailers. It takes them
        // from the connection too, so nothing of them becomes a request.
        case("no size", chunks("\r\nhi\r\n0\r\n\r\n"), passes("")),
        case("an extension without a size", chunks(";a\r\nhi\r\n0\r\n\r\n"), passes("")),
    ]
}
