use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Holds a folder for one process: an advisory lock on a file in it, given back by the kernel however
/// the process ends.
#[derive(Debug)]
pub struct FolderLock {
    path: PathBuf,
    _lock: Flock<File>,
}

impl FolderLock {
    /// Takes the lock of `folder`, or answers `None` when another process holds it.
    ///
    /// # Errors
    /// The lock file cannot be created or locked.
    pub fn try_take(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self { path, _lock: lock })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
