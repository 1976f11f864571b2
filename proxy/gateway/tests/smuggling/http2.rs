//! HTTP/2 written down as HTTP/1.1: RFC 9113, sections 8.2, 8.3 and 10.3. What ends a line, a name or
//! a body in HTTP/1.1 has no meaning in HTTP/2, so a gateway that copies it lets the client write
//! requests of its own.

use crate::harness::{END_HEADERS, END_STREAM, Frames, StreamEnd};

use super::Shape;

type Field = (&'static [u8], &'static [u8]);

/// One stream.
pub struct Row {
    pub name: &'static str,
    fields: Vec<Field>,
    /// Each becomes a DATA frame; none: the header is the end.
    data: Option<&'static [&'static [u8]]>,
    /// What the upstream must get; nothing: the stream is refused.
    pub forwarded: Option<Shape>,
}

impl Row {
    /// Sends it on a connection of its own.
    pub fn send(&self, frames: &mut Frames) -> StreamEnd {
        let end = if self.data.is_none() { END_STREAM } else { 0 };
        frames.headers(1, END_HEADERS | end, &self.fields);
        if let Some(pieces) = self.data {
            for (index, piece) in pieces.iter().enumerate() {
                frames.data(1, if index + 1 == pieces.len() { END_STREAM } else { 0 }, piece);
            }
        }
        frames.end_of(1)
    }
}

const METHOD: Field = (b":method", b"GET");
const POST: Field = (b":method", b"POST");
const SCHEME: Field = (b":scheme", b"http");
const AUTHORITY: Field = (b":authority", b"site");
const PATH: Field = (b":path", b"/files/x");

/// GET with these fields after the usual ones.
fn get(more: &[Field]) -> Vec<Field> {
    [&[METHOD, SCHEME, AUTHORITY, PATH], more].concat()
}

fn post(more: &[Field]) -> Vec<Field> {
    [&[POST, SCHEME, AUTHORITY, PATH], more].concat()
}

fn refused(name: &'static str, fields: Vec<Field>) -> Row {
    Row { name, fields, data: None, forwarded: None }
}

fn refused_with(name: &'static str, fields: Vec<Field>, data: &'static [&'static [u8]]) -> Row {
    Row { name, fields, data: Some(data), forwarded: None }
}

fn passes(name: &'static str, fields: Vec<Field>) -> Row {
    Row { name, fields, data: None, forwarded: Some(Shape::get("/files/x")) }
}

fn passes_with(name: &'static str, fields: Vec<Field>, data: &'static [&'static [u8]]) -> Row {
    let shape = Shape { method: "POST".to_owned(), body: data.concat(), ..Shape::get("/files/x") };
    Row { name, fields, data: Some(data), forwarded: Some(shape) }
}

pub fn rows() -> Vec<Row> {
    vec![
        passes("a plain one", get(&[])),
        passes("a header", get(&[(b"x-a", b"b")])),
        passes("cookies in crumbs", get(&[(b"cookie", b"a=b"), (b"cookie", b"c=d")])),
        passes("TE: trailers", get(&[(b"te", b"trailers")])),
        passes("a host that agrees", get(&[(b"host", b"site")])),
        passes("a host and no authority", vec![METHOD, SCHEME, PATH, (b"host", b"site")]),
        passes_with("a body", post(&[]), &[b"hello"]),
        passes_with("a body with its length", post(&[(b"content-length", b"5")]), &[b"hel", b"lo"]),
        passes_with("a body that ends in an empty frame", post(&[]), &[b"hello", b""]),
        passes_with("a body of empty frames", post(&[]), &[b"", b"", b"hello", b"", b""]),
        passes_with("a body of one empty frame", post(&[]), &[b""]),
        passes_with(
            "a body that looks like chunks",
            post(&[]),
            &[b"0\r\n\r\nGET /files/smuggled HTTP/1.1\r\nHost: site\r\n\r\n"],
        ),
        // Lines within values.
        refused("a line end in a value", get(&[(b"x-a", b"b\r\nx-c: d")])),
        refused("a coding in a value", post(&[(b"x-a", b"b\r\ntransfer-encoding: chunked")])),
        refused("a request in a value", get(&[(b"x-a", b"b\r\n\r\nGET /files/smuggled HTTP/1.1\r\nHost: site")])),
        refused("LF in a value", get(&[(b"x-a", b"b\nx-c: d")])),
        refused("CR in a value", get(&[(b"x-a", b"b\rx-c: d")])),
        refused("a zero byte in a value", get(&[(b"x-a", b"b\0c")])),
        // Names.
        refused("a line end in a name", get(&[(b"x-a: b\r\nx-c", b"d")])),
        refused("a colon in a name", get(&[(b"x-a:b", b"c")])),
        refused("a space in a name", get(&[(b"x a", b"b")])),
        refused("a capital in a name", get(&[(b"X-A", b"b")])),
        refused("an empty name", get(&[(b"", b"b")])),
        refused("a framing name with an underscore", post(&[(b"transfer_encoding", b"chunked")])),
        refused("a gateway's name with an underscore", get(&[(b"x_forwarded_for", b"1.2.3.4")])),
        // The request line.
        refused(
            "a line end in the path",
            vec![METHOD, SCHEME, AUTHORITY, (b":path", b"/files/x HTTP/1.1\r\nx-a: b\r\nx-c:")],
        ),
        refused("space in the path", vec![METHOD, SCHEME, AUTHORITY, (b":path", b"/files/x HTTP/1.1")]),
        refused("a tab in the path", vec![METHOD, SCHEME, AUTHORITY, (b":path", b"/files/x\ty")]),
        // The fragment ends at the gateway, which no one can read otherwise.
        passes("a fragment", vec![METHOD, SCHEME, AUTHORITY, (b":path", b"/files/x#y")]),
        refused("a whole address as the path", vec![METHOD, SCHEME, AUTHORITY, (b":path", b"http://other/files/x")]),
        refused("two slashes", vec![METHOD, SCHEME, AUTHORITY, (b":path", b"//other/files/x")]),
        refused("dots in the path", vec![METHOD, SCHEME, AUTHORITY, (b":path", b"/files/../admin")]),
        refused("an encoded slash", vec![METHOD, SCHEME, AUTHORITY, (b":path", b"/files%2fadmin")]),
        refused("an empty path", vec![METHOD, SCHEME, AUTHORITY, (b":path", b"")]),
        refused("no path", vec![METHOD, SCHEME, AUTHORITY]),
        refused("two paths", get(&[(b":path", b"/files/y")])),
        refused("no method", vec![SCHEME, AUTHORITY, PATH]),
        refused(
            "a line end in the method",
            vec![(b":method", b"GET /files/smuggled HTTP/1.1\r\nx:"), SCHEME, AUTHORITY, PATH],
        ),
        refused("space in the method", vec![(b":method", b"GET /files/smuggled"), SCHEME, AUTHORITY, PATH]),
        refused("CONNECT", vec![(b":method", b"CONNECT"), (b":authority", b"site:443")]),
        refused(
            "CONNECT to WebSocket",
            vec![(b":method", b"CONNECT"), (b":protocol", b"websocket"), SCHEME, AUTHORITY, PATH],
        ),
        refused("TRACE", vec![(b":method", b"TRACE"), SCHEME, AUTHORITY, PATH]),
        refused("no scheme", vec![METHOD, AUTHORITY, PATH]),
        refused("a pseudo-header that is none", get(&[(b":status", b"200")])),
        refused("a pseudo-header after the others", get(&[(b"x-a", b"b"), (b":authority", b"other")])),
        // The host.
        refused("no authority", vec![METHOD, SCHEME, PATH]),
        refused("a host that differs", get(&[(b"host", b"other")])),
        refused("two hosts", get(&[(b"host", b"site"), (b"host", b"site")])),
        refused("a line end in the authority", vec![METHOD, SCHEME, (b":authority", b"site\r\nx-a: b"), PATH]),
        refused("a user in the authority", vec![METHOD, SCHEME, (b":authority", b"user@site"), PATH]),
        refused("a path in the authority", vec![METHOD, SCHEME, (b":authority", b"site/files"), PATH]),
        // Framing.
        refused_with("a coding", post(&[(b"transfer-encoding", b"chunked")]), &[b"0\r\n\r\n"]),
        refused("Connection", get(&[(b"connection", b"close")])),
        refused("Connection that nominates", get(&[(b"connection", b"host")])),
        refused("Keep-Alive", get(&[(b"keep-alive", b"timeout=5")])),
        refused("Proxy-Connection", get(&[(b"proxy-connection", b"keep-alive")])),
        refused("Upgrade", get(&[(b"upgrade", b"websocket")])),
        refused("TE: gzip", get(&[(b"te", b"gzip")])),
        refused_with("a length that is too long", post(&[(b"content-length", b"10")]), &[b"hello"]),
        refused_with("a length that is too short", post(&[(b"content-length", b"2")]), &[b"hello"]),
        // A length of zero with a body is not here: the request is whole before the body shows that it
        // is not, so the upstream may get it, without a body, or not.
        refused("a length without a body", post(&[(b"content-length", b"5")])),
        refused_with("two lengths", post(&[(b"content-length", b"5"), (b"content-length", b"5")]), &[b"hello"]),
        refused_with("a length with a sign", post(&[(b"content-length", b"+5")]), &[b"hello"]),
        refused_with("an expectation that nobody knows", post(&[(b"expect", b"200-ok")]), &[b"hello"]),
    ]
}
