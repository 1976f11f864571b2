//! A reader of HTTP/1.1 requests that takes one spelling and calls every other a violation. It shares
//! no code with the gateway: what it accepts, no server can read in another way.

/// One request, as its bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub host: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What stands at the start of some bytes.
#[derive(Debug)]
pub enum Read {
    /// A request, and how many bytes it took.
    Request(Seen, usize),
    /// The start of a request.
    Incomplete,
    /// Something that two servers may read in two ways, and why.
    Violation(String),
}

/// Reads one request.
pub fn read(bytes: &[u8]) -> Read {
    match try_read(bytes) {
        Ok(Some((seen, length))) => Read::Request(seen, length),
        Ok(None) => Read::Incomplete,
        Err(why) => Read::Violation(why),
    }
}

type Outcome<T> = Result<Option<T>, String>;

fn try_read(bytes: &[u8]) -> Outcome<(Seen, usize)> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > 256 * 1024 { Err("a header without an end".to_owned()) } else { Ok(None) };
    };
    let lines = split_lines(&bytes[..end])?;
    let (first, rest) = lines.split_first().ok_or("no request line")?;
    let (method, target) = request_line(first)?;
    let mut headers = Vec::new();
    for line in rest {
        headers.push(field(line)?);
    }
    agrees_with_httparse(&bytes[..end + 4], &method, &target, headers.len())?;
    let values = |wanted: &str| -> Vec<&str> {
        headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str()).collect()
    };
    let host = match values("host").as_slice() {
        [host] if host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte)) => {
            (*host).to_owned()
        }
        hosts => return Err(format!("hosts: {hosts:?}")),
    };
    let body = match (values("content-length").as_slice(), values("transfer-encoding").as_slice()) {
        ([], []) => Some((Vec::new(), 0)),
        ([length], []) => sized_body(&bytes[end + 4..], length)?,
        ([], ["chunked"]) => chunked_body(&bytes[end + 4..])?,
        framing => return Err(format!("framing: {framing:?}")),
    };
    Ok(body.map(|(body, length)| (Seen { method, target, host, headers, body }, end + 4 + length)))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Lines that end in CRLF, without a CR, LF or NUL of their own.
fn split_lines(header: &[u8]) -> Result<Vec<String>, String> {
    let text = std::str::from_utf8(header).map_err(|_| "bytes that are no text".to_owned())?;
    let lines: Vec<String> = text.split("\r\n").map(ToOwned::to_owned).collect();
    match lines.iter().find(|line| line.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f)) {
        Some(line) => Err(format!("a control byte in {line:?}")),
        None => Ok(lines),
    }
}

fn request_line(line: &str) -> Result<(String, String), String> {
    let parts: Vec<_> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts.as_slice() else { return Err(format!("request line {line:?}")) };
    let visible = target.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if method.is_empty() || !method.bytes().all(is_token) || !visible || !target.starts_with('/') {
        return Err(format!("request line {line:?}"));
    }
    Ok(((*method).to_owned(), (*target).to_owned()))
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(": ").ok_or_else(|| format!("header line {line:?}"))?;
    if name.is_empty() || !name.bytes().all(is_token) || value.trim() != value {
        return Err(format!("header line {line:?}"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A second opinion, by a parser that others use.
fn agrees_with_httparse(header: &[u8], method: &str, target: &str, count: usize) -> Result<(), String> {
    let mut fields = [httparse::EMPTY_HEADER; 300];
    let mut request = httparse::Request::new(&mut fields);
    let complete = request.parse(header).map_err(|error| format!("httparse: {error}"))?.is_complete();
    let same = request.method == Some(method) && request.path == Some(target) && request.headers.len() == count;
    if complete && same { Ok(()) } else { Err("httparse reads it otherwise".to_owned()) }
}

fn sized_body(bytes: &[u8], length: &str) -> Outcome<(Vec<u8>, usize)> {
    let plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let length: usize = length.parse().ok().filter(|_| plain).ok_or_else(|| format!("length {length:?}"))?;
    Ok(bytes.get(..length).map(|body| (body.to_vec(), length)))
}

fn chunked_body(bytes: &[u8]) -> Outcome<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(&bytes[at..at + end]).map_err(|_| "chunk size".to_owned())?;
        let plain = (1..=8).contains(&line.len()) && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size =
            usize::from_str_radix(line, 16).ok().filter(|_| plain).ok_or_else(|| format!("chunk size {line:?}"))?;
        at += end + 2;
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk longer than its size".to_owned());
        }
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[test]
fn it_takes_one_spelling_only() {
    let good: [&[u8]; 3] = [
        b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab",
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    ];
    for bytes in good {
        assert!(matches!(read(bytes), Read::Request(_, length) if length == bytes.len()));
    }
    let bad: [&[u8]; 9] = [
        b"GET /a HTTP/1.0\r\nHost: h\r\n\r\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost : h\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: +2\r\n\r\nab",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nab",
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n0\r\n\r\n",
    ];
    for bytes in bad {
        assert!(matches!(read(bytes), Read::Violation(_)), "{}", bytes.escape_ascii());
    }
}
