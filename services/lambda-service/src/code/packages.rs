//! Packages: fetched once, verified, unpacked once, and kept on the disk for as long as there is room.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use function_package::{Digest, Limits, PackageError};
use objects::Objects;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::{
    CodeError,
    package_folder::{PackageFolder, bytes_of, remove},
    shelf::Shelf,
    unavailable,
};
use crate::{config::PackagesConfig, metrics};

/// The packages on this machine's disk. Cheap to clone.
#[derive(Clone)]
pub(super) struct Packages {
    objects: Objects,
    disk: Arc<Disk>,
    limits: Limits,
    /// One fetch of a package at a time, whoever asks for it.
    fetches: Arc<Mutex<HashMap<Digest, Weak<AsyncMutex<()>>>>>,
}

struct Disk {
    folder: PackageFolder,
    shelf: Mutex<Shelf>,
    /// Says why workers could not read what is here, if they could not.
    out_of_reach: Option<PathBuf>,
}

/// A package on the disk, which stays there while this lives.
pub struct PackageLease {
    digest: Digest,
    folder: Arc<Path>,
    disk: Arc<Disk>,
}

impl PackageLease {
    /// The folder with the package's files.
    #[must_use]
    pub fn folder(&self) -> Arc<Path> {
        Arc::clone(&self.folder)
    }
}

impl Drop for PackageLease {
    fn drop(&mut self) {
        self.disk.shelf().put_back(self.digest);
    }
}

/// A file that is removed in the end.
struct PassingFile(PathBuf);

impl Drop for PassingFile {
    fn drop(&mut self) {
        // Not there when nothing was fetched. What stays is removed at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

impl Packages {
    /// Opens the folder. Blocks.
    pub(super) fn open(objects: Objects, config: &PackagesConfig) -> std::io::Result<Self> {
        let (folder, found) = PackageFolder::open(config.folder.as_deref())?;
        let mut shelf = Shelf::new(config.size.bytes());
        for (digest, bytes) in found {
            shelf.found(digest, bytes);
        }
        let out_of_reach = folder.barrier();
        if let Some(barrier) = &out_of_reach {
            tracing::warn!(
                folder = %barrier.display(),
                "workers cannot reach packages: chmod o+x that folder or set code.packages.folder to another"
            );
        }
        metrics::package_bytes(shelf.bytes());
        let disk = Arc::new(Disk { folder, shelf: Mutex::new(shelf), out_of_reach });
        Ok(Self { objects, disk, limits: config.limits.of_artifacts(), fetches: Arc::default() })
    }

    /// The package of this digest, fetched if it is not here.
    pub(super) async fn get(&self, digest: Digest) -> Result<PackageLease, CodeError> {
        if let Some(barrier) = &self.disk.out_of_reach {
            return Err(CodeError::OutOfReach(barrier.clone()));
        }
        if let Some(lease) = self.disk.lease(digest) {
            metrics::package("hit");
            return Ok(lease);
        }
        let turn = self.turn(digest).lock_owned().await;
        if let Some(lease) = self.disk.lease(digest) {
            metrics::package("hit");
            return Ok(lease);
        }
        let key = digest.object_key();
        let file = PassingFile(self.disk.folder.passing());
        let found = self.objects.get_file(&key, &file.0, self.limits.archive.bytes()).await.map_err(unavailable)?;
        if !found {
            return Err(CodeError::Missing(key));
        }
        self.unpack(digest, file, turn).await
    }

    fn turn(&self, digest: Digest) -> Arc<AsyncMutex<()>> {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        fetches.retain(|_, fetch| fetch.strong_count() > 0);
        let known = fetches.get(&digest).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let fetch = Arc::default();
            fetches.insert(digest, Arc::downgrade(&fetch));
            fetch
        })
    }

    /// The turn goes along: unpacking goes on when nobody waits for it any more.
    async fn unpack(
        &self,
        digest: Digest,
        file: PassingFile,
        turn: OwnedMutexGuard<()>,
    ) -> Result<PackageLease, CodeError> {
        let (disk, limits) = (Arc::clone(&self.disk), self.limits.clone());
        let unpacking = tokio::task::spawn_blocking(move || {
            let unpacked = disk.unpack(digest, &file.0, &limits);
            drop(file);
            drop(turn);
            unpacked
        });
        let lease = unpacking.await.map_err(disk_failed)??;
        metrics::package("fetched");
        Ok(lease)
    }
}

impl Disk {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease(self: &Arc<Self>, digest: Digest) -> Option<PackageLease> {
        self.shelf().take(digest).then(|| self.leased(digest))
    }

    /// A lease whose user is in the books already.
    fn leased(self: &Arc<Self>, digest: Digest) -> PackageLease {
        PackageLease { digest, folder: self.folder.package(digest).into(), disk: Arc::clone(self) }
    }

    /// Blocks.
    fn unpack(self: &Arc<Self>, digest: Digest, file: &Path, limits: &Limits) -> Result<PackageLease, CodeError> {
        let mut archive = File::open(file).map_err(disk_failed)?;
        if Digest::of(&archive).map_err(disk_failed)? != digest {
            return Err(CodeError::Damaged(digest.object_key()));
        }
        let failed = |error| match error {
            PackageError::Refused(refusal) => {
                tracing::error!(%digest, %refusal, "an artifact breaks the limits of this service");
                CodeError::Damaged(digest.object_key())
            }
            error @ PackageError::Machine { .. } => disk_failed(error),
        };
        let bytes = bytes_of(&function_package::inspect(&mut archive, limits).map_err(failed)?);
        self.make_room(bytes)?;
        let unpacked = function_package::unpack(&mut archive, &self.folder.package(digest), limits);
        let mut shelf = self.shelf();
        if let Err(error) = unpacked {
            shelf.give_up(bytes);
            return Err(failed(error));
        }
        shelf.add(digest, bytes);
        metrics::package_bytes(shelf.bytes());
        drop(shelf);
        Ok(self.leased(digest))
    }

    fn make_room(&self, bytes: u64) -> Result<(), CodeError> {
        let mut shelf = self.shelf();
        let going = shelf.make_room(bytes).ok_or(CodeError::NoRoom { bytes })?;
        // Renamed before anybody else can look, so that the same package may be unpacked anew at once.
        let renamed: Vec<PathBuf> = going
            .into_iter()
            .filter_map(|digest| {
                let to = self.folder.passing();
                fs::rename(self.folder.package(digest), &to).ok().map(|()| to)
            })
            .collect();
        metrics::package_bytes(shelf.bytes());
        drop(shelf);
        for folder in renamed {
            metrics::package("evicted");
            if let Err(error) = remove(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "a package could not be removed from the disk");
            }
        }
        Ok(())
    }
}

fn disk_failed(error: impl std::error::Error + Send + Sync + 'static) -> CodeError {
    CodeError::Disk(Arc::new(error))
}
