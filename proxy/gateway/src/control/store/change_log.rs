//! The change log of the file store: one revision a line, as JSON, appended and synced.
//!
//! The log is also the lock: whoever holds it may change the log and the document beside it. So
//! several gateways of one machine, and the two of a binary upgrade, can share one document.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use super::{PAGE, StoreError};
use crate::control::chain::{Break, Fault, NO_HASH, Revision};

/// Longer than any process holds it that is not stopped or on a dead disk.
const LOCK_DEADLINE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// The log's file, and how far it has been read.
#[derive(Debug)]
pub(super) struct ChangeLog {
    path: PathBuf,
    read: Reading,
}

/// The end of the last line that has been read.
#[derive(Debug, Clone)]
struct Reading {
    inode: u64,
    bytes: u64,
    lines: u64,
    revision: u64,
    hash: String,
    document_sha256: String,
}

impl Reading {
    fn start(inode: u64) -> Self {
        let (hash, document_sha256) = (NO_HASH.to_owned(), String::new());
        Self { inode, bytes: 0, lines: 0, revision: 0, hash, document_sha256 }
    }
}

/// The log while this process alone may change it. Dropping it lets go.
pub(super) struct LockedLog<'a> {
    log: &'a mut ChangeLog,
    file: File,
}

impl ChangeLog {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: Reading::start(0) }
    }

    /// Whether there is a log. The first append makes it; reading makes nothing.
    pub(super) fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Opens the log, makes it if need be, and waits until no other process changes it.
    pub(super) fn lock(&mut self) -> Result<LockedLog<'_>, StoreError> {
        let opened = OpenOptions::new().create(true).append(true).read(true).open(&self.path);
        let file = opened.and_then(locked).map_err(|source| self.failed(source))?;
        let metadata = file.metadata().map_err(|source| self.failed(source))?;
        // Another file, or one that was cut off: what was read does not count.
        if metadata.ino() != self.read.inode || metadata.len() < self.read.bytes {
            self.read = Reading::start(metadata.ino());
        }
        Ok(LockedLog { log: self, file })
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Log { path: self.path.clone(), source }
    }
}

fn locked(file: File) -> io::Result<File> {
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_DEADLINE => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds it"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

impl LockedLog<'_> {
    /// The revisions after this one, at most [`PAGE`].
    pub(super) fn since(&mut self, revision: u64) -> Result<Vec<Revision>, StoreError> {
        if self.log.read.revision != revision {
            self.log.read = Reading::start(self.log.read.inode);
        }
        let mut found = Vec::new();
        self.each(|next| {
            if next.entry.revision > revision {
                found.push(next);
            }
            found.len() < PAGE
        })?;
        Ok(found)
    }

    /// Reads on from where the last reading ended while `more` says so.
    pub(super) fn each(&mut self, mut more: impl FnMut(Revision) -> bool) -> Result<(), StoreError> {
        let io = |log: &ChangeLog, source| log.failed(source);
        self.file.seek(SeekFrom::Start(self.log.read.bytes)).map_err(|source| io(self.log, source))?;
        let mut reader = BufReader::new(&self.file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let bytes = reader.read_until(b'\n', &mut line).map_err(|source| io(self.log, source))?;
            // A line without an end was being written when the power went; it is no revision.
            if line.last() != Some(&b'\n') {
                return Ok(());
            }
            let next: Revision = serde_json::from_slice(&line).map_err(|source| {
                let (path, line) = (self.log.path.clone(), self.log.read.lines + 1);
                StoreError::BrokenLog { path, line, source }
            })?;
            let read = &mut self.log.read;
            read.bytes += bytes as u64;
            read.lines += 1;
            read.revision = next.entry.revision;
            read.hash.clone_from(&next.entry.hash);
            read.document_sha256.clone_from(&next.entry.document_sha256);
            if !more(next) {
                return Ok(());
            }
        }
    }

    /// From the first line.
    pub(super) fn rewind(&mut self) {
        self.log.read = Reading::start(self.log.read.inode);
    }

    /// Whether the document of the last revision has this hash.
    pub(super) fn ends_with_document(&mut self, sha256: &str) -> Result<bool, StoreError> {
        self.each(|_| true)?;
        Ok(self.log.read.document_sha256 == sha256)
    }

    /// Appends a revision; it is on disk when this returns. Returns the log's length before.
    pub(super) fn append(&mut self, next: &Revision) -> Result<u64, StoreError> {
        self.each(|_| true)?;
        let (entry, read) = (&next.entry, &self.log.read);
        if read.revision >= entry.revision {
            return Err(StoreError::Conflict);
        }
        // A log that was moved away is begun again where it ended; verifying it tells that.
        if read.bytes > 0 && (read.revision + 1, &read.hash) != (entry.revision, &entry.previous_hash) {
            let fault = Fault::Place { expected: read.revision + 1 };
            return Err(StoreError::Diverged(Break { revision: entry.revision, fault }));
        }
        let before = read.bytes;
        let mut line = serde_json::to_vec(next).expect("plain values");
        line.push(b'\n');
        let written = self.file.metadata().and_then(|metadata| {
            if metadata.len() > before {
                tracing::warn!(log = %self.log.path.display(), "the last line of the change log was torn; it is cut off");
                self.file.set_len(before)?;
            }
            self.file.write_all(&line)?;
            self.file.sync_data()
        });
        if let Err(source) = written {
            let _ = self.file.set_len(before);
            return Err(self.log.failed(source));
        }
        Ok(before)
    }

    /// Takes back what [`LockedLog::append`] has just written.
    pub(super) fn take_back(&mut self, before: u64) {
        let taken = self.file.set_len(before).and_then(|()| self.file.sync_data());
        if let Err(error) = taken {
            tracing::error!(%error, log = %self.log.path.display(), "the change log holds a change that was not made");
        }
    }
}
