//! Load at a fixed rate, made by a process of its own: a thread for each connection, each with its own times
//! to ask at. A request that could not be sent in time because the answer before it was late counts as late
//! from when it was due. Connections are made and used before the clock starts: with one request in sixty the first of
//! its connection, a p99 would be that of connecting.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Barrier, OnceLock},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::process::Cores;

const CONNECTIONS: u32 = 32;
const KEYS: u32 = 1_000;
/// Requests of each connection before the clock starts.
const BEFORE: u32 = 2;
/// A connection that waits longer for an answer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Requests a second, over all connections.
    pub rate: u32,
    pub duration: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    pub failed: usize,
    /// Requests before the clock started.
    pub before: usize,
    /// When each request that was answered later was due since the clock started, and what it took.
    pub answered_us: Vec<(u32, u32)>,
}

impl Load {
    pub fn requests(&self) -> usize {
        self.failed + self.before + self.answered_us.len()
    }
}

/// Loads a contender.
pub fn run(address: SocketAddr, pace: Pace) -> anyhow::Result<Load> {
    let mut command = Cores::Rest.command(std::env::current_exe()?);
    command.args(["load", &address.to_string(), &pace.rate.to_string(), &pace.duration.as_millis().to_string()]);
    let output = command.output().context("cannot run the load")?;
    ensure!(output.status.success(), "the load failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What the process of the load does.
pub fn generate(arguments: &[&str]) -> anyhow::Result<()> {
    let [address, rate, milliseconds] = arguments else { bail!("load ADDRESS RATE MILLISECONDS") };
    let address: SocketAddr = address.parse()?;
    let pace = Pace { rate: rate.parse()?, duration: Duration::from_millis(milliseconds.parse()?) };
    let start = Arc::new(Start { ready: Barrier::new(CONNECTIONS as usize), began: OnceLock::new() });
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let start = start.clone();
            thread::spawn(move || connection(address, number, pace, &start))
        })
        .collect();
    let (mut answered_us, mut failed) = (Vec::new(), 0);
    let us = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    for connection in connections {
        let (of_one, failed_of_one) = connection.join().map_err(|_| anyhow::anyhow!("a connection panicked"))?;
        answered_us.extend(of_one.into_iter().map(|(due, latency)| (us(due), us(latency))));
        failed += failed_of_one;
    }
    let load = Load { failed, before: (CONNECTIONS * BEFORE) as usize, answered_us };
    println!("{}", serde_json::to_string(&load)?);
    Ok(())
}

/// When all connections are there.
struct Start {
    ready: Barrier,
    began: OnceLock<Instant>,
}

/// When requests of one connection were due and what they took, and how many failed.
fn connection(address: SocketAddr, number: u32, pace: Pace, start: &Start) -> (Vec<(Duration, Duration)>, usize) {
    let every = Duration::from_secs(1) * CONNECTIONS / pace.rate;
    let (mut answered, mut failed, mut key) = (Vec::new(), 0, number);
    let mut stream = None;
    for _ in 0..BEFORE {
        failed += usize::from(exchange(&mut stream, address, key).is_err());
    }
    start.ready.wait();
    let began = *start.began.get_or_init(|| Instant::now() + every);
    let mut due = began + every * number / CONNECTIONS;
    while due < began + pace.duration {
        let wait = due.saturating_duration_since(Instant::now());
        thread::sleep(wait);
        // Waking up late is the load's own doing.
        let from = if wait.is_zero() { due } else { Instant::now() };
        key = (key + CONNECTIONS) % KEYS;
        match exchange(&mut stream, address, key) {
            Ok(()) => answered.push((due - began, from.elapsed())),
            Err(_) => {
                failed += 1;
                stream = None;
            }
        }
        due += every;
    }
    (answered, failed)
}

fn exchange(stream: &mut Option<TcpStream>, address: SocketAddr, key: u32) -> anyhow::Result<()> {
    let stream = match stream {
        Some(stream) => stream,
        None => {
            let fresh = TcpStream::connect(address)?;
            fresh.set_nodelay(true)?;
            fresh.set_read_timeout(Some(PATIENCE))?;
            stream.insert(fresh)
        }
    };
    stream.write_all(format!("GET /f/key-{key}/invoke HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes())?;
    let mut answer = Vec::with_capacity(4_096);
    let mut buffer = [0; 4_096];
    loop {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "the connection ended");
        answer.extend_from_slice(&buffer[..read]);
        if let Some(length) = whole_length(&answer)? {
            ensure!(answer.len() <= length, "more than one answer");
            if answer.len() == length {
                return Ok(());
            }
        }
    }
}

/// How long header and body of an answer are, once its header is there. It must be 200.
fn whole_length(answer: &[u8]) -> anyhow::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(header) = parsed.parse(answer)? else { return Ok(None) };
    ensure!(parsed.code == Some(200), "answered with {:?}", parsed.code);
    let length = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let body: usize = std::str::from_utf8(length.context("no content-length")?.value)?.parse()?;
    Ok(Some(header + body))
}
