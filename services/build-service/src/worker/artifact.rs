//! From a package to its artifact: fetched, unpacked, its handler checked, packed again, stored under its own
//! digest.
//!
//! The artifact of the same files is the same bytes, so a job that is built twice, because a worker was taken
//! for dead, stores the same object twice. To the outside that is once.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use domain::{BuildFailure, contract::FunctionSettings};
use function_package::{
    CheckError, Digest, Limits, Listing, PackageError, Refusal, RuntimeFamily, check_entry_point, find_entry_point,
};
use objects::{Objects, ObjectsError};
use runtimes::RuntimesConfig;
use sandbox::Sandbox;
use service::Backoff;
use tempfile::TempDir;
use tokio::sync::SetOnce;

use super::image::ImageBuilder;
use crate::{
    config::ImagesConfig,
    folder::Folder,
    job::{Built, Kind, Lease, Package},
};

/// Why there is no artifact.
#[derive(Debug)]
pub(super) enum MakeError {
    /// The package is at fault.
    Package(BuildFailure),
    /// The machine is, or the object store.
    Machine(anyhow::Error),
}

impl From<anyhow::Error> for MakeError {
    fn from(error: anyhow::Error) -> Self {
        Self::Machine(error)
    }
}

/// Makes artifacts.
#[derive(Debug)]
pub struct Builder {
    objects: Objects,
    folder: Folder,
    limits: Limits,
    runtimes: RuntimesConfig,
    sandbox: Arc<SetOnce<Sandbox>>,
    /// Unless the settings have none.
    images: Option<ImageBuilder>,
}

impl Builder {
    /// Packages come from `objects` and artifacts go there, by way of `folder`; handlers are parsed in `sandbox`,
    /// once it is there.
    #[must_use]
    pub fn new(
        objects: Objects,
        folder: Folder,
        limits: Limits,
        runtimes: RuntimesConfig,
        sandbox: Arc<SetOnce<Sandbox>>,
        images: Option<ImagesConfig>,
    ) -> Self {
        let images = images.map(|config| ImageBuilder {
            objects: objects.clone(),
            folder: folder.clone(),
            limits: limits.clone(),
            config,
        });
        Self { objects, folder, limits, runtimes, sandbox, images }
    }

    /// Makes the artifact of a job. Dropped, it stops at the next step; the folder goes when the last step
    /// has ended.
    pub(super) async fn make(&self, lease: &Lease) -> Result<Built, MakeError> {
        if lease.package.kind == Kind::Image {
            // Masters and workers have the same settings, or should.
            let Some(images) = &self.images else {
                return Err(anyhow::anyhow!("this worker builds no images: its settings have no `images`").into());
            };
            return images.make(lease).await;
        }
        let folder = Arc::new(self.folder.temporary("build-").context("no folder could be made")?);
        let archive = folder.path().join("package.zip");
        fetch(&self.objects, &lease.package, &archive).await?;
        // The folder is held by the steps too: they cannot be stopped, and must not lose it under their hands.
        let (sent, limits, step) = (lease.package.digest.clone(), self.limits.clone(), Arc::clone(&folder));
        let unpacking = tokio::task::spawn_blocking(move || unpack(&step, &archive, &sent, &limits));
        let (files, listing) = unpacking.await.context("a build panicked")??;
        self.check_handler(&lease.settings, &files, &listing).await?;
        let (limits, step) = (self.limits.clone(), Arc::clone(&folder));
        let packing = tokio::task::spawn_blocking(move || pack(&step, &files, &limits));
        let (path, artifact) = packing.await.context("a build panicked")??;
        let key = artifact.digest.object_key();
        until_there("store an artifact", || self.objects.put_file(&key, &path)).await;
        Ok(Built { digest: artifact.digest.to_string(), bytes: artifact.bytes })
    }

    async fn check_handler(
        &self,
        settings: &FunctionSettings,
        files: &Path,
        listing: &Listing,
    ) -> Result<(), MakeError> {
        let runtime = settings.runtime.as_str();
        let found = self.runtimes.find(&settings.runtime).ok();
        let family = found.as_ref().and_then(|found| RuntimeFamily::of(found.language));
        let (Some(found), Some(family)) = (found, family) else {
            let message = format!("packages of the runtime {runtime} cannot be run");
            return Err(MakeError::Package(BuildFailure { code: "runtime_without_packages".to_owned(), message }));
        };
        let entry = find_entry_point(listing, family, &settings.handler).map_err(|refusal| at_fault(&refusal))?;
        let sandbox = self.sandbox.wait().await;
        let interpreter = found.interpreter.as_deref();
        check_entry_point(sandbox, files, family, interpreter, &entry).await.map_err(|error| match error {
            CheckError::Refused(refusal) => at_fault(&refusal),
            error @ CheckError::Sandbox(_) => MakeError::Machine(error.into()),
        })
    }
}

/// Fetches a package as it was sent.
pub(super) async fn fetch(objects: &Objects, package: &Package, path: &Path) -> Result<(), MakeError> {
    let found = until_there("fetch a package", || async move {
        // What an attempt before left.
        let _ = tokio::fs::remove_file(path).await;
        objects.get_file(&package.object_key, path, package.bytes).await
    });
    if found.await { Ok(()) } else { Err(missing()) }
}

/// Unpacks a package: where its files are, and which. Blocks.
pub(super) fn unpack(
    folder: &TempDir,
    package: &Path,
    sent: &str,
    limits: &Limits,
) -> Result<(PathBuf, Listing), MakeError> {
    let mut archive = File::open(package).context("the fetched package cannot be read")?;
    let fetched = Digest::of(&mut archive).context("the fetched package cannot be read")?;
    if fetched.to_string() != sent {
        return Err(anyhow::anyhow!("the object store gave other bytes than were put there").into());
    }
    let files = folder.path().join("files");
    let listing = function_package::unpack(&mut archive, &files, limits).map_err(refused)?;
    Ok((files, listing))
}

/// Packs its files again. Blocks.
fn pack(folder: &TempDir, files: &Path, limits: &Limits) -> Result<(PathBuf, function_package::Artifact), MakeError> {
    let artifact = folder.path().join("artifact.zip");
    let packed = function_package::pack(files, &artifact, limits).map_err(refused)?;
    // Early, because the disk may be short and other builds run.
    fs::remove_dir_all(files).context("the unpacked files cannot be removed")?;
    Ok((artifact, packed))
}

fn refused(error: PackageError) -> MakeError {
    match error {
        PackageError::Refused(refusal) => at_fault(&refusal),
        error @ PackageError::Machine { .. } => MakeError::Machine(error.into()),
    }
}

fn at_fault(refusal: &Refusal) -> MakeError {
    at_fault_of(BuildFailure { code: refusal.code().to_owned(), message: refusal.to_string() })
}

pub(super) fn at_fault_of(failure: BuildFailure) -> MakeError {
    MakeError::Package(failure)
}

/// Tries until the object store does it: the time that a build may take is the bound.
pub(super) async fn until_there<T, F>(what: &'static str, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, ObjectsError>>,
{
    let mut backoff = Backoff::default();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => tracing::warn!(%error, "cannot {what}"),
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

fn missing() -> MakeError {
    MakeError::Package(BuildFailure {
        code: "package_missing".to_owned(),
        message: "the package is not in the object store any more; send it again".to_owned(),
    })
}
