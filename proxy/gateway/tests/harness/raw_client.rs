//! A client that sends bytes as they are and reads answers strictly.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// An answer must come within this time.
const DEADLINE: Duration = Duration::from_secs(10);

/// One connection.
pub struct RawClient {
    stream: TcpStream,
    bytes: Vec<u8>,
}

/// One answer. Informational ones are answers of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawAnswer {
    pub status: u16,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl RawAnswer {
    pub fn header(&self, wanted: &str) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }
}

impl RawClient {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream, bytes: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        // The gateway may have had enough before the end.
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Says that nothing follows.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Reads the header of an answer and nothing more.
    pub fn header(&mut self) -> Option<RawAnswer> {
        let end = self.read_until(|bytes| find(bytes, b"\r\n\r\n"))?;
        let text = String::from_utf8(self.bytes.drain(..end + 4).collect()).expect("a header of text");
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no header line: {line:?}"));
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Some(RawAnswer { status: status.expect("a status"), headers: lines.map(field).collect(), body: Vec::new() })
    }

    /// Reads one answer, framed as its header says. `head`: it is one to HEAD. `None` when it does
    /// not come, or not whole.
    pub fn answer(&mut self, head: bool) -> Option<RawAnswer> {
        let mut answer = self.header()?;
        if head || answer.status < 200 || matches!(answer.status, 204 | 304) {
            return Some(answer);
        }
        answer.body = match (answer.header("content-length"), answer.header("transfer-encoding")) {
            (Some(length), None) => self.take(length.parse().expect("a length"))?,
            (None, Some("chunked")) => self.chunks()?,
            (None, None) => {
                self.read_until(|_| None);
                std::mem::take(&mut self.bytes)
            }
            both => panic!("an answer framed twice: {both:?}"),
        };
        Some(answer)
    }

    /// The next answer that is not informational.
    pub fn final_answer(&mut self, head: bool) -> Option<RawAnswer> {
        loop {
            match self.answer(head)? {
                answer if answer.status < 200 => {}
                answer => return Some(answer),
            }
        }
    }

    /// Reads exactly this many bytes.
    pub fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        self.read_until(|bytes| (bytes.len() >= length).then_some(0))?;
        Some(self.bytes.drain(..length).collect())
    }

    /// Whether the gateway closes without another byte. A connection that only stays silent is open.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let read = self.stream.read(&mut byte);
        let silent = |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        self.bytes.is_empty() && !matches!(&read, Ok(1..)) && !read.is_err_and(|error| silent(&error))
    }

    fn line(&mut self) -> Option<String> {
        let end = self.read_until(|bytes| find(bytes, b"\r\n"))?;
        let line: Vec<u8> = self.bytes.drain(..end + 2).collect();
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    /// A chunked body. Trailers are left out.
    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line()?, 16).expect("a chunk size");
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Some(body);
            }
            body.extend(self.take(size)?);
            assert_eq!(self.line()?, "", "a chunk ends where its size says");
        }
    }

    fn read_until(&mut self, done: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
        let mut piece = [0; 16 * 1024];
        loop {
            if let Some(at) = done(&self.bytes) {
                return Some(at);
            }
            match self.stream.read(&mut piece) {
                Ok(length @ 1..) => self.bytes.extend_from_slice(&piece[..length]),
                _ => return None,
            }
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
