//! An upstream whose every byte a test decides.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

/// It serves each connection with the test's function; health probes it answers itself.
pub struct RawUpstream {
    pub address: SocketAddr,
}

impl RawUpstream {
    pub fn start(serve: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = Arc::new(serve);
        // The threads end with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serve = serve.clone();
                thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    let mut exchange = Exchange { stream, header: String::new() };
                    while exchange.read_header().is_ok() {
                        if exchange.header.starts_with("GET /health ") {
                            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                        } else {
                            serve(&mut exchange);
                        }
                    }
                });
            }
        });
        Self { address }
    }
}

/// One request and its connection.
pub struct Exchange {
    pub stream: TcpStream,
    /// The request's lines.
    pub header: String,
}

impl Exchange {
    fn read_header(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte)?;
            bytes.push(byte[0]);
        }
        self.header = String::from_utf8_lossy(&bytes).into_owned();
        Ok(())
    }

    pub fn path(&self) -> &str {
        self.header.split(' ').nth(1).unwrap_or_default()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The gateway may have gone away, which its client will notice.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends, and says whether the other end still takes it.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Ends the connection.
    pub fn close(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Reads this many bytes of the body.
    pub fn read_body(&mut self, length: usize) -> Vec<u8> {
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        body
    }

    /// Whether bytes of a body come within a short time.
    pub fn body_comes(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let came = self.stream.peek(&mut [0]).is_ok_and(|length| length > 0);
        self.stream.set_read_timeout(None).unwrap();
        came
    }
}
