//! HTTP/2 clients: one that keeps to the protocol, and one that writes frames by hand.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, StatusCode};

/// Begins HTTP/2 without TLS.
pub async fn connect_http2(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 22)
        .handshake(stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// A whole answer.
#[derive(Debug)]
pub struct Http2Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

/// Sends one request with this body and reads the whole answer.
pub async fn exchange_http2(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: Option<Bytes>,
) -> Result<Http2Answer, h2::Error> {
    let mut ready = sender.clone().ready().await?;
    let (answer, mut stream) = ready.send_request(request, body.is_none())?;
    if let Some(body) = body {
        stream.send_data(body, true)?;
    }
    read_http2(answer.await?).await
}

/// Reads an answer to its end.
pub async fn read_http2(answer: http::Response<h2::RecvStream>) -> Result<Http2Answer, h2::Error> {
    let (head, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let trailers = stream.trailers().await?;
    Ok(Http2Answer { status: head.status, headers: head.headers, body, trailers })
}

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// Frames by hand (RFC 9113, section 4).
pub struct Frames {
    stream: TcpStream,
}

/// How one stream ended.
#[derive(Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// An answer with this status.
    Status(u16),
    /// It was reset.
    Reset,
    /// The connection ended, with GOAWAY or without.
    ConnectionEnded,
}

impl Frames {
    pub fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut frames = Self { stream };
        frames.frame(SETTINGS, 0, 0, &[]);
        frames
    }

    /// `false` when the gateway takes no more.
    pub fn frame(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&id.to_be_bytes());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).is_ok()
    }

    pub fn headers(&mut self, id: u32, flags: u8, fields: &[(&[u8], &[u8])]) -> bool {
        self.frame(HEADERS, flags, id, &block(fields))
    }

    pub fn continuation(&mut self, id: u32, flags: u8, fields: &[(&[u8], &[u8])]) -> bool {
        self.frame(CONTINUATION, flags, id, &block(fields))
    }

    pub fn data(&mut self, id: u32, flags: u8, bytes: &[u8]) -> bool {
        self.frame(DATA, flags, id, bytes)
    }

    pub fn reset(&mut self, id: u32) -> bool {
        self.frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())
    }

    /// Waits for the end of a stream. The gateway's table of header fields is not followed, so a
    /// status is read only where it has a number of its own or stands first in plain digits.
    pub fn end_of(&mut self, id: u32) -> StreamEnd {
        let mut status = None;
        loop {
            let Some((kind, flags, stream, payload)) = self.read() else { return StreamEnd::ConnectionEnded };
            match kind {
                SETTINGS if flags & 1 == 0 => _ = self.frame(SETTINGS, 1, 0, &[]),
                GOAWAY => return StreamEnd::ConnectionEnded,
                RST_STREAM if stream == id => return status.map_or(StreamEnd::Reset, StreamEnd::Status),
                HEADERS if stream == id => status = status.or(Some(status_of(&payload))),
                _ => {}
            }
            if stream == id && matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                return StreamEnd::Status(status.expect("an answer begins with its header"));
            }
        }
    }

    /// Whether the connection ends.
    pub fn ends(&mut self) -> bool {
        while let Some((kind, ..)) = self.read() {
            if kind == GOAWAY {
                return true;
            }
        }
        true
    }

    fn read(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).ok()?;
        Some((head[3], head[4], u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]), payload))
    }
}

/// Fields as literals without indexing (RFC 7541, section 6.2.2), so that any byte can be written.
fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// A length of seven bits and more (RFC 7541, section 5.1).
fn length(block: &mut Vec<u8>, mut length: usize) {
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
        return;
    }
    block.push(127);
    length -= 127;
    while length >= 128 {
        block.push(u8::try_from(length % 128).unwrap() | 128);
        length /= 128;
    }
    block.push(u8::try_from(length).unwrap());
}

fn status_of(block: &[u8]) -> u16 {
    // The statuses of the static table (RFC 7541, appendix A).
    let numbered = [200, 204, 206, 304, 400, 404, 500];
    match block[0] {
        byte @ 0x88..=0x8e => numbered[usize::from(byte - 0x88)],
        // A literal with the name `:status`: digits, in Huffman code or plain.
        0x48 | 0x08 if block[1] & 0x80 == 0 => {
            std::str::from_utf8(&block[2..2 + usize::from(block[1])]).unwrap().parse().unwrap()
        }
        0x48 | 0x08 => digits(&block[2..2 + usize::from(block[1] & 0x7f)]),
        other => panic!("no status: {other:#x}"),
    }
}

/// Digits in Huffman code (RFC 7541, appendix B): 0, 1 and 2 have five bits, the others six.
fn digits(code: &[u8]) -> u16 {
    let bits: Vec<u8> = code.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let (mut at, mut number) = (0, 0);
    let value = |bits: &[u8]| bits.iter().fold(0_u16, |value, bit| value << 1 | u16::from(*bit));
    for _ in 0..3 {
        let five = value(&bits[at..at + 5]);
        if five <= 2 {
            number = number * 10 + five;
            at += 5;
        } else {
            number = number * 10 + value(&bits[at..at + 6]) - 0x19 + 3;
            at += 6;
        }
    }
    number
}
