use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use local_servers::{S3Server, Signal};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::StackError;
use super::data_folder::DataFolder;
use super::event::{Event, Events};
use super::part::Part;
use super::start::Assembled;

const S3_STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A stack whose parts all became ready. Dropping it kills them; [`RunningStack::stop`] stops them in
/// order.
#[derive(Debug)]
pub struct RunningStack {
    urls: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    parts: Vec<SupervisedPart>,
    s3: Option<S3Server>,
    events: Events,
    endings: Mutex<Endings>,
    /// Last, so that the lock is given back after the parts are gone.
    data: DataFolder,
}

/// What ends a run.
#[derive(Debug)]
struct Endings {
    failures: mpsc::UnboundedReceiver<StackError>,
    signals: Signals,
}

/// SIGINT and SIGTERM, caught from the moment this is made.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    pub(super) fn catch() -> Result<Self, StackError> {
        let catch = |kind| signal(kind).map_err(StackError::Signals);
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    pub(super) async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A part with the task that watches over it.
#[derive(Debug)]
pub(super) struct SupervisedPart {
    pub(super) part: Arc<Part>,
    pub(super) stop: CancellationToken,
    pub(super) task: AbortOnDropHandle<()>,
}

/// Why [`RunningStack::wait`] returned.
#[derive(Debug)]
pub enum Ended {
    /// SIGINT or SIGTERM.
    Signal,
    /// A part does not stay up, and the restart policy has given up on it.
    Failed(StackError),
}

impl RunningStack {
    pub(super) fn new(
        data: DataFolder,
        urls: BTreeMap<String, String>,
        secrets: BTreeMap<String, String>,
        assembled: Assembled,
        signals: Signals,
    ) -> Self {
        let Assembled { parts, s3, events, failures } = assembled;
        Self { urls, secrets, parts, s3, events, endings: Mutex::new(Endings { failures, signals }), data }
    }

    /// What the document's `[urls]` came to.
    #[must_use]
    pub fn urls(&self) -> &BTreeMap<String, String> {
        &self.urls
    }

    /// The generated secret that the document calls `{secret:NAME}`.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&str> {
        self.secrets.get(name).map(String::as_str)
    }

    /// The data folder.
    #[must_use]
    pub fn data_folder(&self) -> &Path {
        self.data.path()
    }

    /// A file that the document names, where a person edits it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// The log of a part, also one that does not run.
    #[must_use]
    pub fn log_of(&self, part: &str) -> PathBuf {
        self.data.log_of(part)
    }

    /// The parts that are processes, in the order of their start; the first is `postgres`, if any.
    pub fn processes(&self) -> impl Iterator<Item = ProcessHandle<'_>> {
        self.parts.iter().map(|supervised| ProcessHandle { part: &supervised.part })
    }

    /// The process called `name`.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<ProcessHandle<'_>> {
        self.processes().find(|process| process.name() == name)
    }

    /// Waits until SIGINT, SIGTERM (caught since the start began), or a part that does not stay up. Then
    /// it is time to [`RunningStack::stop`].
    pub async fn wait(&self) -> Ended {
        let mut endings = self.endings.lock().await;
        let Endings { failures, signals } = &mut *endings;
        tokio::select! {
            Some(failure) = failures.recv() => Ended::Failed(failure),
            () = signals.any() => Ended::Signal,
        }
    }

    /// Stops every part, the last started first, each within its deadline.
    pub async fn stop(self) {
        let Self { parts, s3, events, endings, data, .. } = self;
        stop_in_order(Assembled { parts, s3, events, failures: endings.into_inner().failures }).await;
        drop(data);
    }
}

/// A process of a running stack.
#[derive(Clone, Copy, Debug)]
pub struct ProcessHandle<'a> {
    part: &'a Part,
}

impl ProcessHandle<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.part.name
    }

    /// Its process id now; `None` between an end and the next start.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.part.live.borrow().as_ref().map(|live| live.child().pid())
    }

    /// Whether it is ready now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.part.ready.borrow()
    }

    /// Sends it a signal, for drills: what ends is started again.
    ///
    /// # Errors
    /// It does not run right now, or the operating system refuses.
    pub fn kill(&self, signal: Signal) -> io::Result<()> {
        let live = self.part.live.borrow().clone();
        let live = live.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the process does not run right now"))?;
        live.child().signal(signal)
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        let mut ready = self.part.ready.subscribe();
        // The sender lives in the part that we borrow.
        let _ = ready.wait_for(|ready| *ready).await;
    }
}

pub(super) async fn stop_in_order(assembled: Assembled) {
    let Assembled { mut parts, s3, events, .. } = assembled;
    let mut s3 = s3;
    while let Some(SupervisedPart { part, stop, task }) = parts.pop() {
        // PostgreSQL was there first and goes last; S3 stands right behind it.
        if parts.is_empty() {
            stop_s3(s3.take(), &events).await;
        }
        stop.cancel();
        if let Err(error) = task.await {
            tracing::error!(part = part.name, %error, "the part's supervisor did not end in order");
        }
    }
    stop_s3(s3, &events).await;
}

async fn stop_s3(server: Option<S3Server>, events: &Events) {
    if let Some(server) = server {
        server.stop(S3_STOP_DEADLINE).await;
        events.emit(Event::Stopped { part: "s3".to_owned(), killed: false });
    }
}
