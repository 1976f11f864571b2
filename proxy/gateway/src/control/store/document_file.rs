//! A document's file: read whole, replaced whole.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// A document is a few lines for each route; anything larger is some other file.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Editors write a file in several steps; reading waits for a pause of this length.
pub(in crate::control) const SETTLE: Duration = Duration::from_millis(20);

/// What a prepared text's name ends with.
const PREPARED: &str = ".next";

/// What could not be done with the file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Reading it.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Replacing it.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Moving it out of the way.
    #[error("cannot put {} aside", .path.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The file.
#[derive(Debug)]
pub(in crate::control) struct DocumentFile {
    path: PathBuf,
}

impl DocumentFile {
    pub(in crate::control) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What errors call it.
    pub(in crate::control) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The whole text, or `None` when there is no such file.
    pub(in crate::control) fn read(&self) -> Result<Option<String>, FileError> {
        let failed = |source| FileError::Read { path: self.path.clone(), source };
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() > MAX_BYTES => {
                Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any rollout document")))
            }
            Ok(_) => fs::read_to_string(&self.path).map(Some).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Whether somebody may be in the middle of writing it. Not every editor replaces a file; some
    /// empty it first, and half a document, or none, would be another document.
    pub(in crate::control) fn is_being_written(&self) -> bool {
        let modified = fs::metadata(&self.path).and_then(|metadata| metadata.modified());
        modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age < SETTLE))
    }

    /// Replaces the file at once: whoever reads it sees the old text or the new one. When this
    /// returns, the new text survives a power cut.
    pub(in crate::control) fn write(&self, text: &str) -> Result<(), FileError> {
        self.replace(text).map_err(|source| self.not_written(source))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let temporary = self.beside(&format!(".{}.tmp", std::process::id()));
        let written = self.write_beside(&temporary, text).and_then(|()| fs::rename(&temporary, self.target()));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        self.sync_folder()
    }

    /// Writes a text that [`DocumentFile::publish`] puts in place; until then it is beside the file.
    pub(super) fn prepare(&self, text: &str) -> Result<(), FileError> {
        self.write_beside(&self.beside(PREPARED), text).map_err(|source| self.not_written(source))
    }

    /// The prepared text, if there is one.
    pub(super) fn prepared(&self) -> Result<Option<String>, FileError> {
        Self::new(self.beside(PREPARED)).read()
    }

    /// Puts the prepared text in place.
    pub(super) fn publish(&self) -> Result<(), FileError> {
        let published = fs::rename(self.beside(PREPARED), self.target()).and_then(|()| self.sync_folder());
        published.map_err(|source| self.not_written(source))
    }

    /// Removes the prepared text.
    pub(super) fn discard(&self) {
        let _ = fs::remove_file(self.beside(PREPARED));
    }

    /// A symbolic link stays one: what it points to is replaced.
    fn target(&self) -> PathBuf {
        fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let target = self.target();
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        target.with_file_name(name)
    }

    fn write_beside(&self, temporary: &Path, text: &str) -> io::Result<()> {
        let mut file = File::create(temporary)?;
        if let Ok(metadata) = fs::metadata(self.target()) {
            file.set_permissions(metadata.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    fn sync_folder(&self) -> io::Result<()> {
        let target = self.target();
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }

    fn not_written(&self, source: io::Error) -> FileError {
        FileError::Write { path: self.path.clone(), source }
    }

    /// Moves the file to a name of its own beside it, and returns that.
    pub(in crate::control) fn set_aside(&self) -> Result<PathBuf, FileError> {
        let stamp = chrono::Utc::now().format("%Y%m%dT%H%M%S%.6fZ");
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".broken-{stamp}"));
        let aside = self.path.with_file_name(name);
        fs::rename(&self.path, &aside)
            .map(|()| aside)
            .map_err(|source| FileError::SetAside { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_file_is_left_to_its_writer_for_an_instant() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = DocumentFile::new(folder.path().join("rollout.toml"));
        assert!(!file.is_being_written(), "there is none");
        let opened = File::create(&file.path).expect("created");
        let at = |age: Duration| opened.set_modified(SystemTime::now() - age).expect("our own file");
        at(SETTLE);
        assert!(!file.is_being_written());
        // As if from another machine's clock.
        opened.set_modified(SystemTime::now() + Duration::from_secs(60)).expect("our own file");
        assert!(!file.is_being_written());
        opened.set_modified(SystemTime::now()).expect("our own file");
        assert!(file.is_being_written());
    }
}
