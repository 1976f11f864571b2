//! Where a body ends: RFC 9112, section 6.

use super::{Case, Expect::Unfinished, case, forwarded, refused};

const SMUGGLED: &str = "GET /files/smuggled HTTP/1.1\r\nHost: site\r\n\r\n";

pub fn cases() -> Vec<Case> {
    let post = |rest: &str| format!("POST /files/x HTTP/1.1\r\nHost: site\r\n{rest}");
    let passes = |body: &str| forwarded("POST", "/files/x", body);
    vec![
        case("a length", post("Content-Length: 5\r\n\r\nhello"), passes("hello")),
        case("no length", post("\r\n"), passes("")),
        case("a length of zero", post("Content-Length: 0\r\n\r\n"), passes("")),
        case("chunks", post("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), passes("hello")),
        case(
            "a request as a body",
            post(&format!("Content-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len())),
            passes(SMUGGLED),
        ),
        case(
            "a body after GET",
            "GET /files/x HTTP/1.1\r\nHost: site\r\nContent-Length: 5\r\n\r\nhello",
            forwarded("GET", "/files/x", "hello"),
        ),
        case(
            "chunks after GET",
            "GET /files/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            forwarded("GET", "/files/x", "hi"),
        ),
        case(
            "chunks after HEAD",
            "HEAD /files/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            forwarded("HEAD", "/files/x", ""),
        ),
        // CL.TE and TE.CL: section 6.1 lets a server refuse both together, and this one does.
        case(
            "a length, then chunks",
            post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
            refused(400),
        ),
        case(
            "chunks, then a length",
            post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n"),
            refused(400),
        ),
        case(
            "chunks and a length that agree",
            post("Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            refused(400),
        ),
        case(
            "a length that hides a request from chunks",
            post(&format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}")),
            refused(400),
        ),
        // Lengths: section 6.3, RFC 9110, section 8.6.
        case("two lengths that differ", post("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"), refused(400)),
        case("two lengths that agree", post("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), refused(400)),
        case("a list of lengths that agree", post("Content-Length: 5, 5\r\n\r\nhello"), refused(400)),
        case("a list of lengths that differ", post("Content-Length: 5, 6\r\n\r\nhello!"), refused(400)),
        case("a length with a sign", post("Content-Length: +5\r\n\r\nhello"), refused(400)),
        case("a negative length", post("Content-Length: -5\r\n\r\nhello"), refused(400)),
        case("a length in hexadecimal", post("Content-Length: 0x5\r\n\r\nhello"), refused(400)),
        case("a length with a fraction", post("Content-Length: 5.0\r\n\r\nhello"), refused(400)),
        case("a length with an exponent", post("Content-Length: 5e0\r\n\r\nhello"), refused(400)),
        case("a length of two numbers", post("Content-Length: 5 5\r\n\r\nhello"), refused(400)),
        case("a length with a letter", post("Content-Length: 5a\r\n\r\nhello"), refused(400)),
        case("an empty length", post("Content-Length: \r\n\r\n"), refused(400)),
        case("a length beyond 64 bits", post("Content-Length: 18446744073709551621\r\n\r\nhello"), refused(400)),
        case("a length beyond the limit", post("Content-Length: 9223372036854775807\r\n\r\nhello"), refused(413)),
        case("a length in other digits", post("Content-Length: \u{665}\r\n\r\nhello"), refused(400)),
        case("a length with a vertical tab", post("Content-Length: \u{b}5\r\n\r\nhello"), refused(400)),
        case("a length with space around it", post("Content-Length:  5 \r\n\r\nhello"), passes("hello")),
        case("a length with an underscore in its name", post("Content_Length: 5\r\n\r\n"), refused(400)),
        case("a body that is too short", post("Content-Length: 10\r\n\r\nhello"), Unfinished),
        // Codings: section 6.1 and 7.
        case("chunked in capitals", post("Transfer-Encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), passes("hi")),
        case(
            "chunked with space around it",
            post("Transfer-Encoding: \tchunked \r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
            passes("hi"),
        ),
        case(
            "chunked twice",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            refused(400),
        ),
        case("chunked twice in a list", post("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), refused(400)),
        case("another coding first", post("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), refused(400)),
        case("another coding last", post("Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), refused(400)),
        case(
            "another coding in a line of its own",
            post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            refused(400),
        ),
        case("identity", post("Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello"), refused(400)),
        case("identity, then chunked", post("Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"), refused(400)),
        case("an unknown coding", post("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), refused(400)),
        case("chunked in quotes", post("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"), refused(400)),
        case("chunked with a parameter", post("Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"), refused(400)),
        case("a list that ends in a comma", post("Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"), refused(400)),
        case("a list that begins with a comma", post("Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"), refused(400)),
        case("no coding", post("Transfer-Encoding:\r\n\r\n"), refused(400)),
        case("chunked with a vertical tab", post("Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n"), refused(400)),
        case("chunked with a zero byte", post("Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"), refused(400)),
        case(
            "chunked after a byte that is no text",
            [post("Transfer-Encoding: ").as_bytes(), b"\xffchunked\r\n\r\n0\r\n\r\n"].concat(),
            refused(400),
        ),
        case(
            "a coding with an underscore in its name",
            post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello"),
            refused(400),
        ),
        case(
            "chunks in HTTP/1.0",
            "POST /files/x HTTP/1.0\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            refused(400),
        ),
        case(
            "a length in HTTP/1.0",
            "POST /files/x HTTP/1.0\r\nHost: site\r\nContent-Length: 2\r\n\r\nhi",
            passes("hi"),
        ),
    ]
}
