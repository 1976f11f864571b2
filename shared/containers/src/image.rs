//! Images built from a Dockerfile and its files.

use std::{io, path::PathBuf, time::Duration};

use bollard::{
    body_try_stream,
    errors::Error,
    models::BuildInfo,
    query_parameters::{BuildImageOptionsBuilder, RemoveImageOptions},
};
use bytes::Bytes;
use futures::StreamExt;
use tokio::io::AsyncReadExt;

use crate::{ContainerError, Daemon, dockerfile::Needs, error::docker};

/// How much of the context is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
const CPU_PERIOD_US: i32 = 100_000;

/// An image to be built.
#[derive(Debug, Clone)]
pub struct ImagePlan {
    /// A tar archive of the files, with a `Dockerfile` at its root.
    pub context: PathBuf,
    /// The text of that Dockerfile.
    pub dockerfile: String,
    /// What the image is called; without a name, cleaning up would take it.
    pub name: String,
    /// Whether commands have a network, and what is not on this machine may be fetched.
    pub may_use_network: bool,
    /// Memory of the build's commands.
    pub memory_bytes: u64,
    /// Processors' worth of CPU time of the build's commands.
    pub cpu_cores: f64,
    /// What the image may be at most, with the image that it is built on.
    pub max_bytes: u64,
    /// How much of the log is kept.
    pub log_bytes: usize,
    /// How long the daemon may take to begin.
    pub timeout: Duration,
}

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// SHA-256 of its configuration, in hex, by which its layers are known too: nothing else ever has this name.
    pub digest: String,
    /// Its size, with that of the image it is built on.
    pub bytes: u64,
}

/// How a build ended, with what was said while it ran.
#[derive(Debug)]
pub struct ImageBuild {
    /// The image, or why its author has none.
    pub result: Result<BuiltImage, String>,
    /// The log, up to its limit.
    pub log: String,
}

impl Daemon {
    /// Builds an image, without a network unless the plan has one. Dropped, the build is broken off and leaves no container.
    ///
    /// # Errors
    /// When the daemon is at fault. What the Dockerfile is at fault for is in the [`ImageBuild`].
    pub async fn build_image(&self, plan: &ImagePlan) -> Result<ImageBuild, ContainerError> {
        if !plan.may_use_network
            && let Some(reason) = self.what_needs_a_network(&plan.dockerfile).await?
        {
            return Ok(ImageBuild { result: Err(reason), log: String::new() });
        }
        let context = tokio::fs::File::open(&plan.context).await;
        let context = context.map_err(|error| docker("read a build's files")(error.into()))?;
        // The first answer comes when the daemon has read all files.
        let api = self.api().clone().with_timeout(plan.timeout);
        let mut log = Log { text: String::new(), limit_bytes: plan.log_bytes };
        let mut digest = None;
        let mut building =
            std::pin::pin!(api.build_image(plan.options(), None, Some(body_try_stream(chunks(context)))));
        while let Some(step) = building.next().await {
            match step {
                Ok(info) => {
                    log.take(&info);
                    digest = info.aux.and_then(|image| image.id).or(digest);
                    if let Some(error) = info.error_detail.and_then(|error| error.message) {
                        return Ok(ImageBuild { result: Err(error), log: log.text });
                    }
                }
                Err(Error::DockerStreamError { error }) => return Ok(ImageBuild { result: Err(error), log: log.text }),
                Err(Error::DockerResponseServerError { status_code: 400, message }) => {
                    return Ok(ImageBuild { result: Err(message), log: log.text });
                }
                Err(error) => return Err(docker("build an image")(error)),
            }
        }
        let result = self.measure(plan, digest).await?;
        Ok(ImageBuild { result, log: log.text })
    }

    async fn what_needs_a_network(&self, dockerfile: &str) -> Result<Option<String>, ContainerError> {
        let needs = match Needs::of(dockerfile) {
            Ok(needs) => needs,
            Err(reason) => return Ok(Some(reason)),
        };
        for image in needs.images {
            if !self.has_image(&image).await? {
                let reason = format!("the image {image} is not on the machine that builds, which fetches none");
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    /// The image that came of a build, unless it is too large: then it is removed.
    async fn measure(
        &self,
        plan: &ImagePlan,
        id: Option<String>,
    ) -> Result<Result<BuiltImage, String>, ContainerError> {
        let Some(digest) = id.as_deref().and_then(|id| id.strip_prefix("sha256:")) else {
            return Ok(Err("the Dockerfile makes no image".to_owned()));
        };
        let image = self.api().inspect_image(&plan.name).await.map_err(docker("look at an image"))?;
        let bytes = image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
        if bytes > plan.max_bytes {
            let removed = self.api().remove_image(&plan.name, None::<RemoveImageOptions>, None).await;
            removed.map_err(docker("remove an image"))?;
            return Ok(Err(format!("the image has {bytes} bytes; the limit is {}", plan.max_bytes)));
        }
        Ok(Ok(BuiltImage { digest: digest.to_owned(), bytes }))
    }
}

impl ImagePlan {
    fn options(&self) -> bollard::query_parameters::BuildImageOptions {
        // The interface has 32 bits for it; more than 2 GiB is no limit that matters.
        let memory_bytes = i32::try_from(self.memory_bytes).unwrap_or(i32::MAX);
        BuildImageOptionsBuilder::default()
            .dockerfile("Dockerfile")
            .t(&self.name)
            .rm(true)
            .forcerm(true)
            .networkmode(if self.may_use_network { "default" } else { "none" })
            .memory(memory_bytes)
            .memswap(memory_bytes)
            .cpuperiod(CPU_PERIOD_US)
            .cpuquota((self.cpu_cores * f64::from(CPU_PERIOD_US)) as i32)
            .build()
    }
}

struct Log {
    text: String,
    limit_bytes: usize,
}

impl Log {
    fn take(&mut self, info: &BuildInfo) {
        let said = info.stream.as_deref().or(info.status.as_deref()).unwrap_or_default();
        // Docker colours what commands write to their stderr.
        let said = said.replace("\u{1b}[91m", "").replace("\u{1b}[0m", "");
        let room = self.limit_bytes.saturating_sub(self.text.len());
        self.text.extend(said.char_indices().take_while(|(at, _)| *at < room).map(|(_, character)| character));
    }
}

fn chunks(file: tokio::fs::File) -> impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static {
    futures::stream::try_unfold(file, |mut file| async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = file.read(&mut chunk).await?;
        chunk.truncate(count);
        Ok((count > 0).then(|| (Bytes::from(chunk), file)))
    })
}
