//! Room on disk for packages on their way through, gone with whoever used it.
//!
//! A process that is killed cannot clean up. So each process has a folder of its own below the configured
//! one, and a lock on it that the kernel gives back however the process ends; whoever starts or ends and finds a
//! folder whose lock is free removes it. Looking once would not do: a child of who was killed may have the lock, or
//! write to the folder, for a moment longer.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
};

use tempfile::TempDir;

const LOCK: &str = "lock";

/// This process's folder; removed with the last clone of this.
#[derive(Debug, Clone)]
pub struct Folder(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    folder: TempDir,
    _lock: File,
}

impl Folder {
    /// Makes a folder below `root`, after removing what others left there that have ended.
    ///
    /// # Errors
    /// When `root` cannot be made or written to.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        // Made and locked before another process can take it for abandoned: `remove_abandoned` passes over
        // folders without a lock file, and the file appears locked.
        let folder = tempfile::Builder::new().prefix("process-").tempdir_in(root)?;
        // Whoever checks handlers passes through, whatever the umask.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
        let lock = tempfile::NamedTempFile::new_in(root)?;
        lock.as_file().lock()?;
        let lock = lock.persist(folder.path().join(LOCK)).map_err(|error| error.error)?;
        remove_abandoned(root)?;
        Ok(Self(Arc::new(Owned { folder, _lock: lock })))
    }

    /// A new folder inside, removed when it is dropped.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temporary(&self, prefix: &str) -> io::Result<TempDir> {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(self.path())?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
        Ok(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.folder.path()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // By itself it would remove the lock before what is still written to.
        self.folder.disable_cleanup(true);
        let own = self.folder.path();
        let removed = remove(own);
        let others = own.parent().map_or(Ok(()), remove_abandoned);
        if let Err(error) = removed.and(others) {
            tracing::warn!(%error, folder = %own.display(), "the next to start has to remove a folder");
        }
    }
}

fn remove_abandoned(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() && is_abandoned(&path) {
            tracing::info!(folder = %path.display(), "removing what a process left that was killed");
            if let Err(error) = remove(&path) {
                // Another process may be at it too.
                tracing::debug!(%error, "a left folder was not removed");
            }
        }
    }
    Ok(())
}

/// Removes a folder and its lock last, so that what could not be removed is found again.
fn remove(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if entry.file_name() != LOCK {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir_all(folder)
}

/// Whether the lock of a folder is free. Ours is not: it is held through another handle.
fn is_abandoned(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_others_use_is_not() {
        let root = tempfile::tempdir().expect("a folder");
        let left = root.path().join("process-left");
        fs::create_dir(&left).expect("a folder");
        fs::write(left.join(LOCK), "").expect("a lock that nobody holds");
        fs::write(left.join("package.zip"), "half").expect("a file");

        let first = Folder::open(root.path()).expect("a folder");
        assert!(!left.exists());
        let build = first.temporary("build-").expect("a folder");
        let second = Folder::open(root.path()).expect("a folder");
        assert!(build.path().exists(), "another process's folder is left alone");

        let path = first.path().to_owned();
        drop(build);
        drop(first);
        assert!(!path.exists());
        drop(second);
        assert_eq!(fs::read_dir(root.path()).expect("the root").count(), 0);
    }

    #[test]
    fn what_was_in_use_when_a_process_started_is_removed_when_it_ends() {
        let root = tempfile::tempdir().expect("a folder");
        let left = root.path().join("process-left");
        fs::create_dir_all(left.join("build-1/node_modules")).expect("a folder");
        let lock = File::create(left.join(LOCK)).expect("a lock");
        lock.lock().expect("a child of who was killed has it");

        let folder = Folder::open(root.path()).expect("a folder");
        assert!(left.exists());
        drop(lock);
        fs::write(folder.path().join("package.zip"), "half").expect("a file");
        drop(folder);
        assert_eq!(fs::read_dir(root.path()).expect("the root").count(), 0);
    }
}
