//! One JSON line for each request, written by a thread of its own.
//!
//! A request formats its line by hand into a buffer that its thread reuses, and copies it into the
//! buffer that waits to be written; it never waits for the disk. When the waiting buffer is full the
//! line is dropped and counted. Closing the log writes what waits.
//!
//! The writer pauses after it woke, so that it wakes once for many lines: woken for every one of them
//! it took as much of the processor as all the rest that is done for a small request. What is lost
//! when the process is killed is at most what came in one such pause.
//!
//! A file can be opened anew ([`AccessLog::reopen`]). Lines that were handed over before go to the old one.

mod line;

use std::{
    cell::RefCell,
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

pub use line::Line;

use crate::{
    config::{AccessLogConfig, LogDestination},
    metrics::Metrics,
};

/// The log. Cloning it is cheap.
#[derive(Clone)]
pub struct AccessLog(Option<Arc<Queue>>);

struct Queue {
    waiting: Mutex<Waiting>,
    /// Something waits, much does, or the log is closing.
    wake: Condvar,
    limit_bytes: usize,
    pause: Duration,
    /// Where lines go, when that is a file.
    file: Option<PathBuf>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The file is to be opened anew once what waits is written.
    reopening: bool,
    closing: bool,
}

impl Waiting {
    /// Whether what waits is to be written without waiting for more.
    fn is_urgent(&self) -> bool {
        self.closing || self.reopening
    }
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
            file: (config.destination == LogDestination::File).then(|| config.file.clone()),
            metrics,
        });
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn({
            let queue = queue.clone();
            move || queue.write_all(output)
        })?;
        Ok((Self(Some(queue.clone())), Writer(Some((queue, thread)))))
    }

    /// Writes what waits, and opens the file anew; nothing where the log is none.
    pub fn reopen(&self) {
        let Some(queue) = &self.0 else { return };
        queue.lock().reopening = true;
        queue.wake.notify_one();
    }

    /// Hands a line over.
    pub fn write(&self, line: &Line<'_>) {
        thread_local! {
            static BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
        }
        let Some(queue) = &self.0 else { return };
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            line.format(SystemTime::now(), buffer);
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
            let (reopening, closing) = {
                let idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && !waiting.is_urgent();
                let waiting = self.wake.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
                let patient = |waiting: &mut Waiting| !waiting.is_urgent() && !self.is_much(waiting);
                let paused = self.wake.wait_timeout_while(waiting, self.pause, patient);
                let (mut waiting, _) = paused.unwrap_or_else(PoisonError::into_inner);
                std::mem::swap(&mut batch, &mut waiting.bytes);
                (std::mem::take(&mut waiting.reopening), waiting.closing)
            };
            if !batch.is_empty()
                && let Err(error) = output.write_all(&batch).and_then(|()| output.flush())
            {
                let lines = batch.iter().filter(|byte| **byte == b'\n').count();
                self.metrics.log_lines_lost(lines as u64);
                tracing::warn!(%error, lines, "access log lines were not written");
            }
            batch.clear();
            if reopening && let Some(file) = &self.file {
                match open_file(file) {
                    Ok(opened) => output = opened,
                    Err(error) => {
                        let file = file.display();
                        tracing::error!(%error, %file, "the access log was not opened anew; lines go on to the old file");
                    }
                }
            }
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

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::{line::tests::line, *};
    use crate::route_table::RouteTable;

    #[test]
    fn a_file_that_was_moved_away_gets_the_lines_from_before_and_a_new_one_those_after() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let config = AccessLogConfig { destination: LogDestination::File, file: file.clone(), ..Default::default() };
        let metrics = Metrics::new(&Registry::new(), &RouteTable::default(), &[], true).expect("a new registry");
        let (log, writer) = AccessLog::open(&config, Arc::new(metrics)).expect("the folder is writable");
        log.write(&line("before", "/"));
        std::fs::rename(&file, &old).expect("it is there");
        log.reopen();
        while !file.exists() {
            thread::yield_now();
        }
        log.write(&line("after", "/"));
        writer.close();
        for (path, request_id) in [(old, "before"), (file, "after")] {
            let text = std::fs::read_to_string(path).expect("it is there");
            assert!(text.lines().count() == 1 && text.contains(request_id), "{request_id}: {text}");
        }
    }
}
