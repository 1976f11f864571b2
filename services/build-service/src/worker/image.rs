//! From a package with a Dockerfile to an image on the daemon's machine.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use containers::{Daemon, ImagePlan};
use domain::{BuildFailure, JobId};
use function_package::Limits;
use objects::Objects;
use tempfile::TempDir;

use super::artifact::{MakeError, at_fault_of, fetch, unpack, until_there};
use crate::{
    config::ImagesConfig,
    folder::Folder,
    job::{Built, Lease},
};

const DOCKERFILE: &str = "Dockerfile";
/// How much of the log's end a failure tells.
const TOLD_LINES: usize = 10;

/// Builds images.
#[derive(Debug)]
pub(super) struct ImageBuilder {
    pub(super) objects: Objects,
    pub(super) folder: Folder,
    pub(super) limits: Limits,
    pub(super) config: ImagesConfig,
}

impl ImageBuilder {
    /// Makes the image of a job. Dropped, the daemon breaks the build off.
    pub(super) async fn make(&self, lease: &Lease) -> Result<Built, MakeError> {
        let folder = Arc::new(self.folder.temporary("image-").context("no folder could be made")?);
        let archive = folder.path().join("package.zip");
        fetch(&self.objects, &lease.package, &archive).await?;
        let (sent, limits, step) = (lease.package.digest.clone(), self.limits.clone(), Arc::clone(&folder));
        let preparing = tokio::task::spawn_blocking(move || prepare(&step, &archive, &sent, &limits));
        let (context, dockerfile) = preparing.await.context("a build panicked")??;
        let daemon = Daemon::connect(&self.config.daemon()).await.context("images cannot be built")?;
        let plan = ImagePlan {
            context,
            dockerfile,
            name: format!("mini-lambda-build:{}", lease.job_id),
            may_use_network: self.config.allow_network,
            memory_bytes: self.config.memory.bytes(),
            cpu_cores: self.config.cpu_cores,
            max_bytes: self.config.max_size.bytes(),
            log_bytes: self.config.log.as_usize(),
            timeout: self.config.timeout.get(),
        };
        let build = daemon.build_image(&plan).await.context("an image was not built")?;
        let key = log_key(lease.job_id);
        until_there("store a build's log", || self.objects.put(&key, build.log.clone().into())).await;
        match build.result {
            Ok(image) => Ok(Built { digest: image.digest, bytes: image.bytes }),
            Err(reason) => Err(at_fault_of(failure(&reason, &build.log))),
        }
    }
}

/// Where the log of a build is kept.
fn log_key(job: JobId) -> String {
    format!("build-logs/{job}.txt")
}

fn failure(reason: &str, log: &str) -> BuildFailure {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let end = lines[lines.len().saturating_sub(TOLD_LINES)..].join("\n");
    let message = if end.is_empty() { reason.to_owned() } else { format!("{reason}\n{end}") };
    BuildFailure { code: "image_not_built".to_owned(), message }
}

/// The package's files as a tar archive, and the text of the Dockerfile. Blocks.
fn prepare(folder: &TempDir, archive: &Path, sent: &str, limits: &Limits) -> Result<(PathBuf, String), MakeError> {
    let (files, _) = unpack(folder, archive, sent, limits)?;
    let dockerfile = fs::read(files.join(DOCKERFILE)).context("the Dockerfile cannot be read")?;
    let Ok(dockerfile) = String::from_utf8(dockerfile) else {
        return Err(at_fault_of(failure("the Dockerfile is not UTF-8", "")));
    };
    let context = folder.path().join("context.tar");
    let write = || {
        let mut tar = tar::Builder::new(File::create_new(&context)?);
        // The same files are the same bytes, so that the daemon knows what it has built before.
        tar.mode(tar::HeaderMode::Deterministic);
        tar.append_dir_all(".", &files)?;
        tar.into_inner()?.sync_data()
    };
    write().context("the package's files cannot be packed for Docker")?;
    fs::remove_dir_all(&files).context("the unpacked files cannot be removed")?;
    Ok((context, dockerfile))
}
