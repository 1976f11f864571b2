//! A client that sends bytes as they are.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// An answer must come within this time.
const DEADLINE: Duration = Duration::from_secs(10);

/// One connection.
pub struct Raw {
    stream: TcpStream,
    bytes: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// An answer with this status.
    Status(u16),
    /// The end of the connection, or nothing within the time.
    Nothing,
}

impl Raw {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream, bytes: Vec::new() }
    }

    /// The gateway may have had enough before the end.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Says that nothing follows.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads one answer, but for informational ones. `head`: it is one to HEAD.
    pub fn answer(&mut self, head: bool) -> Came {
        loop {
            let Some(end) = self.read_until(|bytes| find(bytes, b"\r\n\r\n")) else { return Came::Nothing };
            let header = String::from_utf8_lossy(&self.bytes[..end]).to_ascii_lowercase();
            self.bytes.drain(..end + 4);
            let status: u16 = header.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
            if status < 200 {
                continue;
            }
            let length = header.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if !head && self.read_until(|bytes| (bytes.len() >= length).then_some(0)).is_some() {
                self.bytes.drain(..length);
            }
            return Came::Status(status);
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
