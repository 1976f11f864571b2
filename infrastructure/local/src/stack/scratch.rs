//! Room outside of the data folder, for what other users of the machine have to reach: functions run as users of their
//! own, and the data folder lets nobody else in.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A folder that every user may pass through; removed when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    /// The file that names it, for the next start to find what a killed one left.
    note: PathBuf,
}

impl Scratch {
    /// Makes one in the system's temporary folder, or takes the one over that `note` names.
    pub(super) fn open(note: PathBuf) -> io::Result<Self> {
        let left = std::fs::read_to_string(&note).map(PathBuf::from).ok().filter(|path| is_ours(path));
        let path = match left {
            Some(path) => path,
            None => {
                let folder = tempfile::Builder::new().prefix("strangler-").tempdir()?;
                std::fs::write(&note, folder.path().to_string_lossy().as_bytes())?;
                folder.keep()
            }
        };
        let scratch = Self { path, note };
        std::fs::set_permissions(&scratch.path, Permissions::from_mode(0o711))?;
        Ok(scratch)
    }

    /// The part of one process.
    pub(super) fn of(&self, process: &str) -> io::Result<PathBuf> {
        let path = self.path.join(process);
        std::fs::create_dir_all(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o711))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is taken over, and removed, next time.
        if std::fs::remove_dir_all(&self.path).is_ok() {
            let _ = std::fs::remove_file(&self.note);
        }
    }
}

/// Whether this is a folder of ours: another user may have made one where ours was removed.
fn is_ours(path: &Path) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_stack_left_is_taken_over_and_removed() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let note = data.path().join("scratch");
        let killed = Scratch::open(note.clone()).expect("a temporary folder");
        let left = killed.of("worker").expect("our own folder");
        std::mem::forget(killed);

        let next = Scratch::open(note.clone()).expect("it is there");
        assert_eq!(next.of("worker").expect("it is there"), left);
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&next.path), mode(&left)), (0o711, 0o711));
        drop(next);
        assert!(!left.exists() && !note.exists());
    }

    #[test]
    fn what_a_link_leads_to_is_left_alone() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let (note, link) = (data.path().join("scratch"), data.path().join("link"));
        std::os::unix::fs::symlink(data.path(), &link).expect("our own folder");
        std::fs::write(&note, link.to_str().expect("its name is text")).expect("our own folder");
        let scratch = Scratch::open(note).expect("a temporary folder");
        assert_ne!(scratch.path, link);
        drop(scratch);
        assert!(data.path().exists());
    }
}
