use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A log file is moved aside once it is larger than this.
pub const DEFAULT_LOG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
const TAIL_WINDOW_BYTES: u64 = 64 * 1024;

/// Where a child's output goes: `path`, and `path.1` for what came before. Together they never hold
/// more than about twice the limit.
#[derive(Clone, Debug)]
pub struct ChildLog {
    path: PathBuf,
    limit_bytes: u64,
}

impl ChildLog {
    /// A log at `path` with the default limit.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), limit_bytes: DEFAULT_LOG_LIMIT_BYTES }
    }

    /// The same log with another limit.
    #[must_use]
    pub fn limit_bytes(mut self, limit_bytes: u64) -> Self {
        self.limit_bytes = limit_bytes;
        self
    }

    /// The current file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last `lines` lines, oldest first; empty when there is no log yet.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let text = read_end(&self.path).unwrap_or_default();
        let kept: Vec<&str> = text.lines().rev().take(lines).collect();
        kept.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Moves what earlier runs wrote aside, so that a file starts with a run.
    pub(crate) fn rotate_if_large(&self) -> io::Result<()> {
        match std::fs::metadata(&self.path) {
            Ok(meta) if meta.len() >= self.limit_bytes => self.rotate(),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Copies everything the child writes until it and all who hold its output have closed it. A write
    /// that fails (a full disk) loses log lines, never the child: the pipe is still emptied.
    pub(crate) fn pump(&self, mut from: PipeReader) {
        let mut file = self.open().ok();
        let mut written = file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |meta| meta.len());
        let mut buffer = [0_u8; 16 * 1024];
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 {
                break;
            }
            if written >= self.limit_bytes && self.rotate().is_ok() {
                file = self.open().ok();
                written = 0;
            }
            if let Some(file) = &mut file {
                let _ = file.write_all(&buffer[..count]);
            }
            written += count as u64;
        }
    }

    pub(crate) fn open(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)
    }

    fn rotate(&self) -> io::Result<()> {
        let mut older = self.path.clone().into_os_string();
        older.push(".1");
        std::fs::rename(&self.path, older)
    }
}

fn read_end(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_WINDOW_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_WINDOW_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_of_the_limit_are_all_a_talkative_child_gets() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = ChildLog::new(folder.path().join("talk.log")).limit_bytes(4_000);
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let talk = std::thread::spawn(move || {
            for line in 0..5_000 {
                writeln!(writer, "line {line}").expect("the pump reads");
            }
        });
        log.pump(reader);
        talk.join().expect("the writer ends");
        let total: u64 = std::fs::read_dir(folder.path())
            .expect("the folder is there")
            .map(|entry| entry.and_then(|e| e.metadata()).expect("a file").len())
            .sum();
        assert!(total <= 2 * (4_000 + 16 * 1024), "{total} bytes kept");
        assert!(log.tail(2).ends_with("line 4998\nline 4999"), "{}", log.tail(2));
    }
}
