//! The daemon on this machine.

use std::path::{Path, PathBuf};

use bollard::Docker;

use crate::{
    ContainerError, DockerConfig,
    error::{docker, is_not_found},
};

/// A daemon that was there when it was asked first. Cheap to clone; it may go and come back.
#[derive(Debug, Clone)]
pub struct Daemon {
    docker: Docker,
    socket: PathBuf,
}

impl Daemon {
    /// Finds the daemon, agrees with it on a version of its interface, and says in the log if it filters no system calls.
    ///
    /// # Errors
    /// [`ContainerError::Unreachable`]: it may be tried again.
    pub async fn connect(config: &DockerConfig) -> Result<Self, ContainerError> {
        let unreachable = |source| ContainerError::Unreachable { socket: config.socket.clone(), source };
        let path = config.socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&path, config.timeout.get().as_secs(), bollard::API_DEFAULT_VERSION);
        // A daemon refuses what asks for a later version than its own.
        let docker = docker.map_err(unreachable)?.negotiate_version().await.map_err(unreachable)?;
        let daemon = Self { docker, socket: config.socket.clone() };
        daemon.look_for_filter().await?;
        Ok(daemon)
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// [`ContainerError::Unreachable`].
    pub async fn ping(&self) -> Result<(), ContainerError> {
        let pinged = self.docker.ping().await;
        pinged.map(drop).map_err(|source| ContainerError::Unreachable { socket: self.socket.clone(), source })
    }

    /// Whether an image is on this machine.
    ///
    /// # Errors
    /// When the daemon does not say.
    pub async fn has_image(&self, image: &str) -> Result<bool, ContainerError> {
        match self.docker.inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(error) if is_not_found(&error) => Ok(false),
            Err(error) => Err(docker("look for an image")(error)),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn api(&self) -> &Docker {
        &self.docker
    }

    async fn look_for_filter(&self) -> Result<(), ContainerError> {
        let info = self.docker.info().await.map_err(docker("say what it is"))?;
        let options = info.security_options.unwrap_or_default();
        if !options.iter().any(|option| option.contains("seccomp")) {
            tracing::warn!("this Docker filters no system calls: containers are less confined than they should be");
        }
        Ok(())
    }
}
