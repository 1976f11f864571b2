//! A package on its way to disk: counted, hashed, and never in memory as a whole.

use std::{io, path::Path};

use tempfile::TempDir;
use tokio::{fs::File, io::AsyncWriteExt as _};

use super::IntakeError;
use crate::folder::Folder;

/// More came than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) limit_bytes: u64,
}

/// A package that is being written.
#[derive(Debug)]
pub(super) struct Spool {
    folder: TempDir,
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
    limit_bytes: u64,
}

/// A package on disk; removed with this value.
#[derive(Debug)]
pub(super) struct Spooled {
    folder: TempDir,
    /// BLAKE3 of it, in hex.
    pub(super) digest: String,
    /// Its size.
    pub(super) bytes: u64,
}

const FILE: &str = "package.zip";

impl Spool {
    pub(super) async fn create(folder: &Folder, limit_bytes: u64) -> Result<Self, IntakeError> {
        let folder = folder.temporary("upload-").map_err(IntakeError::Disk)?;
        let file = File::create_new(folder.path().join(FILE)).await.map_err(IntakeError::Disk)?;
        Ok(Self { folder, file, hasher: blake3::Hasher::new(), bytes: 0, limit_bytes })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), IntakeError> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limit_bytes {
            return Err(TooLarge { limit_bytes: self.limit_bytes }.into());
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).await.map_err(IntakeError::Disk)
    }

    pub(super) async fn finish(mut self) -> Result<Spooled, IntakeError> {
        let flushed: io::Result<()> = self.file.flush().await;
        flushed.map_err(IntakeError::Disk)?;
        Ok(Spooled { folder: self.folder, digest: self.hasher.finalize().to_hex().to_string(), bytes: self.bytes })
    }
}

impl Spooled {
    pub(super) fn path(&self) -> std::path::PathBuf {
        Path::join(self.folder.path(), FILE)
    }
}
