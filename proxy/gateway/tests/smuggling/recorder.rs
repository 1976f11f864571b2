//! An upstream that keeps every byte it gets and answers what it understands, strictly.

use std::{
    io::{Read as _, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use super::strict::{self, Read, Seen};

/// What it got, over all connections.
#[derive(Debug, Default, Clone)]
pub struct Record {
    /// Complete requests, but for health probes.
    pub requests: Vec<Seen>,
    /// Bytes that could be read in more than one way, with the reason.
    pub violations: Vec<String>,
    /// Connections that requests came on.
    pub connections: usize,
}

/// The upstream.
pub struct Recorder {
    pub address: SocketAddr,
    record: Arc<Mutex<Record>>,
}

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let record = Arc::new(Mutex::new(Record::default()));
        let kept = record.clone();
        // The thread ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let record = kept.clone();
                thread::spawn(move || serve(stream, &record));
            }
        });
        Self { address, record }
    }

    pub fn record(&self) -> Record {
        self.record.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, record: &Mutex<Record>) {
    let (mut bytes, mut first) = (Vec::new(), true);
    let mut piece = [0; 64 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        bytes.extend_from_slice(&piece[..length]);
        loop {
            match strict::read(&bytes) {
                Read::Request(seen, taken) => {
                    bytes.drain(..taken);
                    let answer = answer_to(&seen);
                    if seen.target != "/health" {
                        let mut record = record.lock().unwrap();
                        record.connections += usize::from(std::mem::take(&mut first));
                        record.requests.push(seen);
                    }
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
                Read::Incomplete => break,
                Read::Violation(why) => {
                    let violation = format!("{why}: {}", bytes.escape_ascii());
                    record.lock().unwrap().violations.push(violation);
                    return;
                }
            }
        }
    }
}

fn answer_to(seen: &Seen) -> String {
    let body = if seen.method == "HEAD" { "" } else { "ok" };
    format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}")
}
