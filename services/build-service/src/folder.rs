//! Room on disk for packages on their way through, gone with whoever used it.
//!
//! A process that is killed cannot clean up. So each process has a folder of its own below the configured
//! one, and a lock on it that the kernel gives back however the process ends; whoever starts or ends and finds a
//! folder that nobody has locked removes it. Looking once would not do: a child of who was killed may have the lock, or
//! write to the folder, for a moment longer. It is the folder itself that is locked (`flock(2)` takes any open file): a
//! file inside would not be there yet, or no longer, where a process is killed while it makes or removes its folder.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;

/// How the names of these folders begin. Whatever else there is below the configured one is not ours to remove.
const PREFIX: &str = "build-service-process-";

/// This process's folder; removed with the last clone of this.
#[derive(Debug, Clone)]
pub struct Folder(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes a folder below `root`, after removing what others left there that have ended.
    ///
    /// # Errors
    /// When `root` cannot be made or written to.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let owned = Owned::make(root)?;
        // Whoever checks handlers passes through, whatever the umask.
        fs::set_permissions(&owned.path, Permissions::from_mode(0o711))?;
        remove_abandoned(root)?;
        Ok(Self(Arc::new(owned)))
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
        &self.0.path
    }
}

impl Owned {
    fn make(root: &Path) -> io::Result<Self> {
        loop {
            let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(root)?.keep();
            // Until it is locked, another process may take it for abandoned.
            if let Some(lock) = lock(&path)? {
                return Ok(Self { path, _lock: lock });
            }
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.path);
        let others = self.path.parent().map_or(Ok(()), remove_abandoned);
        if let Err(error) = removed.and(others) {
            tracing::warn!(%error, folder = %self.path.display(), "the next to start has to remove a folder");
        }
    }
}

/// Locks a folder, unless another process did so first and has removed it.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let Some(lock) = found(File::open(folder))? else { return Ok(None) };
    lock.lock()?;
    let (locked, there) = (lock.metadata()?, found(fs::metadata(folder))?);
    let same = there.is_some_and(|there| (there.dev(), there.ino()) == (locked.dev(), locked.ino()));
    Ok(same.then_some(lock))
}

fn found<T>(of_a_file: io::Result<T>) -> io::Result<Option<T>> {
    match of_a_file {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn remove_abandoned(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        // Whoever has ended in the meantime has left none. Ours is not free: it is held through another handle.
        let Ok(lock) = File::open(&path) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        tracing::info!(folder = %path.display(), "removing what a process left that was killed");
        if let Err(error) = fs::remove_dir_all(&path) {
            // Something may still write there. Whoever looks next tries again.
            tracing::debug!(%error, "a left folder was not removed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_others_use_is_not() {
        let root = tempfile::tempdir().expect("a folder");
        let left = root.path().join(format!("{PREFIX}left"));
        let of_others = root.path().join("process-of-another-program");
        fs::create_dir(&of_others).expect("a folder");
        fs::create_dir(&left).expect("a folder that nobody has locked");
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
        fs::remove_dir(of_others).expect("it was left alone");
        assert_eq!(fs::read_dir(root.path()).expect("the root").count(), 0);
    }

    #[test]
    fn what_was_in_use_when_a_process_started_is_removed_when_it_ends() {
        let root = tempfile::tempdir().expect("a folder");
        let left = root.path().join(format!("{PREFIX}left"));
        fs::create_dir_all(left.join("build-1/node_modules")).expect("a folder");
        let lock = File::open(&left).expect("a handle");
        lock.lock().expect("a child of who was killed has the lock");

        let folder = Folder::open(root.path()).expect("a folder");
        assert!(left.exists());
        drop(lock);
        fs::write(folder.path().join("package.zip"), "half").expect("a file");
        drop(folder);
        assert_eq!(fs::read_dir(root.path()).expect("the root").count(), 0);
    }

    #[test]
    fn processes_that_start_and_end_at_once_keep_to_their_own() {
        let root = tempfile::tempdir().expect("a folder");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let folder = Folder::open(root.path()).expect("a folder");
                        let package = folder.path().join("package.zip");
                        fs::write(&package, "half").expect("its own folder is there");
                        std::thread::yield_now();
                        assert!(package.exists());
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(root.path()).expect("the root").count(), 0);
    }
}
