//! The folder that unpacked packages are kept in.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use function_package::{Digest, Listing};
use tempfile::TempDir;
use uuid::Uuid;

/// Changes at each start of the kernel.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Holds the boot id under which the packages were written, and the lock of the service that uses them.
const STAMP: &str = ".boot";
/// What a file or a folder takes on the disk at least.
const BLOCK_BYTES: u64 = 4096;

/// A folder that no other service uses.
#[derive(Debug)]
pub(super) struct PackageFolder {
    path: PathBuf,
    /// Locked for as long as this is open.
    _stamp: File,
    /// Removed at the end, when nobody named a folder.
    _temporary: Option<TempDir>,
}

impl PackageFolder {
    /// Opens the folder, or makes one below the system's temporary folder, and removes what was left unfinished.
    /// Answers the packages that are there, with what each takes on the disk.
    ///
    /// Packages are not synced to the disk when they are unpacked, so those of before the machine's last start
    /// are not trusted.
    pub(super) fn open(path: Option<&Path>) -> io::Result<(Self, Vec<(Digest, u64)>)> {
        let temporary = match path {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("lambda-service-packages-").tempdir()?),
        };
        let path = path.or(temporary.as_ref().map(TempDir::path)).expect("one of the two is there").to_owned();
        DirBuilder::new().recursive(true).mode(0o755).create(&path)?;
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
        let stamp = File::options().read(true).write(true).create(true).truncate(false).open(path.join(STAMP))?;
        stamp.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::new(io::ErrorKind::ResourceBusy, "another service uses it"),
            fs::TryLockError::Error(error) => error,
        })?;
        let folder = Self { path, _stamp: stamp, _temporary: temporary };
        let found = folder.sweep()?;
        Ok((folder, found))
    }

    /// Where the package of a digest is, or would be.
    pub(super) fn package(&self, digest: Digest) -> PathBuf {
        self.path.join(digest.to_string())
    }

    /// A name for something on its way in or out.
    pub(super) fn passing(&self) -> PathBuf {
        self.path.join(format!(".{}.passing", Uuid::now_v7().simple()))
    }

    /// The first folder on the way to packages that workers may not pass through.
    pub(super) fn barrier(&self) -> Option<PathBuf> {
        sandbox::barrier(&self.path)
    }

    fn sweep(&self) -> io::Result<Vec<(Digest, u64)>> {
        let boot_id = fs::read_to_string(BOOT_ID)?;
        let stamp = self.path.join(STAMP);
        let is_of_this_boot = fs::read_to_string(&stamp)? == boot_id;
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let digest = entry.file_name().to_str().and_then(|name| name.parse().ok());
            match digest.filter(|_| is_of_this_boot) {
                Some(digest) => found.push((digest, bytes_below(&entry.path())?)),
                None if entry.path() == stamp => {}
                None => remove(&entry.path())?,
            }
        }
        fs::write(stamp, boot_id)?;
        Ok(found)
    }
}

/// Removes a file or a folder.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// What an unpacked package takes on the disk, about.
pub(super) fn bytes_of(listing: &Listing) -> u64 {
    listing.entries.iter().map(|entry| entry.unpacked_bytes.next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES).sum()
}

fn bytes_below(path: &Path) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(path)?;
    let mut bytes = metadata.blocks() * 512 + BLOCK_BYTES;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += bytes_below(&entry?.path())?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_digest() -> Digest {
        Digest::of(&b"package"[..]).expect("memory can be read")
    }

    #[test]
    fn whole_packages_are_kept_and_what_was_left_unfinished_goes() {
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join("a/packages");
        let (folder, found) = PackageFolder::open(Some(&path)).unwrap();
        assert_eq!(found, []);
        fs::create_dir_all(folder.package(some_digest()).join("pkg")).unwrap();
        fs::write(folder.package(some_digest()).join("pkg/mod.py"), [b' '; 5000]).unwrap();
        fs::create_dir_all(path.join(".x.partial/pkg")).unwrap();
        fs::write(folder.passing(), "half").unwrap();
        drop(folder);
        let (folder, found) = PackageFolder::open(Some(&path)).unwrap();
        let [(digest, bytes)] = found[..] else { panic!("{found:?}") };
        assert!(digest == some_digest() && bytes >= 5000, "{bytes}");
        let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [STAMP, &*some_digest().to_string()]);
        drop(folder);
    }

    #[test]
    fn packages_of_before_the_last_start_of_the_machine_are_not_trusted() {
        let work = tempfile::tempdir().unwrap();
        let (folder, _) = PackageFolder::open(Some(work.path())).unwrap();
        fs::create_dir(folder.package(some_digest())).unwrap();
        drop(folder);
        fs::write(work.path().join(STAMP), "another boot").unwrap();
        let (folder, found) = PackageFolder::open(Some(work.path())).unwrap();
        assert_eq!(found, []);
        assert!(!folder.package(some_digest()).exists());
    }

    #[test]
    fn two_services_never_share_it() {
        let work = tempfile::tempdir().unwrap();
        let first = PackageFolder::open(Some(work.path())).unwrap();
        assert_eq!(PackageFolder::open(Some(work.path())).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(first);
        PackageFolder::open(Some(work.path())).unwrap();
    }
}
