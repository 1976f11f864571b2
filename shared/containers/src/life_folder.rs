//! A folder for one life of a service, whose lock says whether that life still is.
//!
//! The kernel lets go of the lock when the process ends, however it ends. A name or a number could not say as
//! much: two replicas may have the same settings, and numbers of processes come again.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use uuid::Uuid;

const LOCK: &str = "lock";

/// Held for as long as the life is. Dropping it removes the folder.
#[derive(Debug)]
pub(crate) struct LifeFolder {
    path: PathBuf,
    life: String,
    _lock: File,
}

impl LifeFolder {
    /// A new one below `folder`, which is made if need be, closed to others.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let life = Uuid::now_v7().simple().to_string();
        let home = fs::canonicalize(folder)?;
        // Under another name until it is locked, so that no other life ever takes it for one that is over.
        let unlocked = home.join(format!(".{life}"));
        DirBuilder::new().mode(0o700).create(&unlocked)?;
        let lock = File::create_new(unlocked.join(LOCK))?;
        lock.lock()?;
        let path = home.join(&life);
        fs::rename(&unlocked, &path)?;
        Ok(Self { path, life, _lock: lock })
    }

    /// The life's name.
    pub(crate) fn life(&self) -> &str {
        &self.life
    }

    /// The folder in which all lives are.
    pub(crate) fn home(&self) -> &Path {
        self.path.parent().expect("it was made below another")
    }

    /// A new folder in it, to be mounted in a container: open to whichever user that has, where the way to it is not.
    pub(crate) fn room(&self) -> io::Result<PathBuf> {
        let room = self.path.join(Uuid::now_v7().simple().to_string());
        DirBuilder::new().mode(0o755).create(&room)?;
        Ok(room)
    }

    /// Whether another life is over; one without a folder is.
    pub(crate) fn has_ended(&self, life: &str) -> bool {
        // Whatever else is in the folder is none of ours.
        if life == self.life || Uuid::try_parse(life).is_err() {
            return false;
        }
        match File::open(self.home().join(life).join(LOCK)) {
            Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// The lives below the same folder that are over, to be called before their folders are removed.
    pub(crate) fn ended(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(self.home())?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter(|life| self.has_ended(life)).collect())
    }

    /// Removes what a life left in its folder.
    pub(crate) fn remove(&self, life: &str) -> io::Result<()> {
        fs::remove_dir_all(self.home().join(life))
    }
}

impl Drop for LifeFolder {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next life.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_over_when_its_lock_is_free() {
        let home = tempfile::tempdir().expect("a folder");
        let ours = LifeFolder::open(home.path()).expect("our own folder");
        let other = LifeFolder::open(home.path()).expect("our own folder");
        let name = other.life().to_owned();
        assert!(!ours.has_ended(&name) && !ours.has_ended(ours.life()));
        let gone = Uuid::nil().simple().to_string();
        assert!(ours.has_ended(&gone), "a life that left no folder is over");
        fs::create_dir(home.path().join("of-somebody-else")).expect("our own folder");
        assert_eq!(ours.ended().expect("our own folder"), Vec::<String>::new());

        // As a kill leaves it: the lock free, the folder there.
        let LifeFolder { path, .. } = &other;
        let copy = path.with_extension("copy");
        fs::rename(path, &copy).expect("our own folder");
        drop(other);
        fs::rename(&copy, ours.home().join(&name)).expect("our own folder");
        assert!(ours.ended().expect("our own folder").contains(&name));
        ours.remove(&name).expect("our own folder");
        assert!(ours.has_ended(&name));
    }
}
