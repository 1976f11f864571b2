//! One JSON line for each request, written by a thread of its own.
//!
//! A request formats its line by hand into a buffer that its thread reuses, and copies it into the
//! buffer that waits to be written; it never waits for the disk. When the waiting buffer is full the
//! line is dropped and counted. Closing the log writes what waits.
//!
//! The writer pauses after it woke, so that it wakes once for many lines: woken for every one of them
//! it took as much of the processor as all the rest that is done for a small request. What is lost
//! when the process is killed is at most what came in one such pause.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chrono::DateTime;
use telemetry::TraceContext;

use crate::{
    config::{AccessLogConfig, LogDestination},
    metrics::Metrics,
};

/// What is known of a request when it has ended.
#[derive(Debug)]
pub struct Line<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// Its trace.
    pub trace: TraceContext,
    /// Its method.
    pub method: &'a str,
    /// Its path as sent, without the query, which may hold secrets.
    pub path: &'a str,
    /// The route it took.
    pub route: Option<&'a str>,
    /// What its decision was sticky to.
    pub key: Option<&'a str>,
    /// The side that served it.
    pub side: Option<&'static str>,
    /// Why that side, or why none.
    pub reason: &'static str,
    /// The status of the answer; 0 when there was none.
    pub status: u16,
    /// From its arrival to the end of its answer.
    pub latency: Duration,
    /// From the choice of an upstream to the header of its answer.
    pub upstream: Option<Duration>,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// Bytes of the answer's body.
    pub bytes_sent: u64,
}

/// The log. Cloning it is cheap.
#[derive(Clone)]
pub struct AccessLog(Option<Arc<Queue>>);

struct Queue {
    waiting: Mutex<Waiting>,
    /// Something waits, much does, or the log is closing.
    wake: Condvar,
    limit_bytes: usize,
    pause: Duration,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    closing: bool,
}

/// The thread that writes. [`Writer::close`] it to write what waits.
#[must_use = "lines that wait are lost unless the writer is closed"]
pub struct Writer(Option<(Arc<Queue>, JoinHandle<()>)>);

impl AccessLog {
    /// Opens the destination and starts the thread that writes to it.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not be started.
    pub fn open(config: &AccessLogConfig, metrics: Arc<Metrics>) -> io::Result<(Self, Writer)> {
        let output: Box<dyn Write + Send> = match config.destination {
            LogDestination::Off => return Ok((Self(None), Writer(None))),
            LogDestination::Stdout => Box::new(io::stdout()),
            LogDestination::File => open_file(&config.file)?,
        };
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            limit_bytes: config.buffer.as_usize(),
            pause: config.flush_interval.get(),
            metrics,
        });
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn({
            let queue = queue.clone();
            move || queue.write_all(output)
        })?;
        Ok((Self(Some(queue.clone())), Writer(Some((queue, thread)))))
    }

    /// Hands a line over.
    pub fn write(&self, line: &Line<'_>) {
        thread_local! {
            static BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
        }
        let Some(queue) = &self.0 else { return };
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            line.format(SystemTime::now(), buffer).expect("writing to a string cannot fail");
            queue.push(buffer.as_bytes());
        });
    }
}

fn open_file(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    Ok(Box::new(OpenOptions::new().create(true).append(true).open(path)?))
}

impl Queue {
    fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.bytes.len() + line.len() > self.limit_bytes || waiting.closing {
            drop(waiting);
            self.metrics.log_lines_lost(1);
            return;
        }
        let (was_empty, was_much) = (waiting.bytes.is_empty(), self.is_much(&waiting));
        waiting.bytes.extend_from_slice(line);
        let wakes = was_empty || (!was_much && self.is_much(&waiting));
        drop(waiting);
        if wakes {
            self.wake.notify_one();
        }
    }

    /// Whether so much waits that the pause ends early.
    fn is_much(&self, waiting: &Waiting) -> bool {
        waiting.bytes.len() > self.limit_bytes / 2
    }

    fn write_all(&self, mut output: Box<dyn Write + Send>) {
        let mut batch = Vec::new();
        loop {
            let closing = {
                let idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && !waiting.closing;
                let waiting = self.wake.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
                let patient = |waiting: &mut Waiting| !waiting.closing && !self.is_much(waiting);
                let paused = self.wake.wait_timeout_while(waiting, self.pause, patient);
                let (mut waiting, _) = paused.unwrap_or_else(PoisonError::into_inner);
                std::mem::swap(&mut batch, &mut waiting.bytes);
                waiting.closing
            };
            if !batch.is_empty()
                && let Err(error) = output.write_all(&batch).and_then(|()| output.flush())
            {
                let lines = batch.iter().filter(|byte| **byte == b'\n').count();
                self.metrics.log_lines_lost(lines as u64);
                tracing::warn!(%error, lines, "access log lines were not written");
            }
            batch.clear();
            if closing && self.lock().bytes.is_empty() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Bytes are appended whole, so a panic elsewhere leaves nothing half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Writes what waits, then ends.
    pub fn close(self) {
        let Some((queue, thread)) = self.0 else { return };
        queue.lock().closing = true;
        queue.wake.notify_one();
        if thread.join().is_err() {
            tracing::error!("the access log's thread panicked");
        }
    }
}

impl Line<'_> {
    fn format(&self, now: SystemTime, out: &mut String) -> fmt::Result {
        out.push_str("{\"ts\":\"");
        write_time(now, out)?;
        out.push_str("\",\"request_id\":\"");
        escape(self.request_id, out);
        write!(out, "\",\"trace_id\":\"{}\",\"method\":\"", self.trace.trace_id())?;
        escape(self.method, out);
        out.push_str("\",\"path\":\"");
        escape(self.path, out);
        out.push('"');
        for (name, value) in [("route", self.route), ("key", self.key), ("side", self.side)] {
            if let Some(value) = value {
                write!(out, ",\"{name}\":\"")?;
                escape(value, out);
                out.push('"');
            }
        }
        write!(out, ",\"reason\":\"{}\",\"status\":{}", self.reason, self.status)?;
        write!(out, ",\"latency_us\":{}", self.latency.as_micros())?;
        if let Some(upstream) = self.upstream {
            write!(out, ",\"upstream_us\":{}", upstream.as_micros())?;
        }
        writeln!(out, ",\"bytes_received\":{},\"bytes_sent\":{}}}", self.bytes_received, self.bytes_sent)
    }
}

/// RFC 3339 in UTC with milliseconds. The calendar is consulted once a second.
fn write_time(now: SystemTime, out: &mut String) -> fmt::Result {
    thread_local! {
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != since_epoch.as_secs() {
            let time = DateTime::from_timestamp(i64::try_from(since_epoch.as_secs()).unwrap_or(0), 0);
            *text = time.unwrap_or_default().format("%Y-%m-%dT%H:%M:%S").to_string();
            *second = since_epoch.as_secs();
        }
        write!(out, "{text}.{:03}Z", since_epoch.subsec_millis())
    })
}

/// JSON's escapes, and those for bytes that could break a terminal or a line-based reader.
fn escape(text: &str, out: &mut String) {
    // Nearly all that is logged is printable ASCII, which is told by its bytes.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        out.push_str(text);
        return;
    }
    let plain = |c: char| !matches!(c, '"' | '\\') && !c.is_control() && c != '\u{2028}' && c != '\u{2029}';
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            plain_char if plain(plain_char) => out.push(plain_char),
            other => {
                let code = u32::from(other);
                write!(out, "\\u{code:04x}").expect("writing to a string cannot fail");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_whatever_the_client_sent() {
        let line = Line {
            request_id: "r\"1",
            trace: TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").expect("valid"),
            method: "POST",
            path: "/a\\b\n\u{1b}[31m\u{2028}é",
            route: Some("invoke"),
            key: None,
            side: Some("legacy"),
            reason: "weight",
            status: 200,
            latency: Duration::from_micros(1_500),
            upstream: Some(Duration::from_micros(900)),
            bytes_received: 1,
            bytes_sent: 2,
        };
        let mut text = String::new();
        line.format(UNIX_EPOCH + Duration::from_millis(1_700_000_000_007), &mut text).expect("a string takes it");
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let parsed: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
        let expected = serde_json::json!({
            "ts": "2023-11-14T22:13:20.007Z", "request_id": "r\"1", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "method": "POST", "path": "/a\\b\n\u{1b}[31m\u{2028}é", "route": "invoke", "side": "legacy",
            "reason": "weight", "status": 200, "latency_us": 1_500, "upstream_us": 900, "bytes_received": 1,
            "bytes_sent": 2,
        });
        assert_eq!(parsed, expected);
    }
}
