//! Why Docker did not do what was asked.

use std::{io, path::PathBuf};

/// Docker's, or the machine's.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Nobody listens at the socket.
    #[error(
        "Docker cannot be reached at {}; start dockerd, let this service's user open the socket, or set `docker.socket`",
        socket.display()
    )]
    Unreachable {
        /// Where it was looked for.
        socket: PathBuf,
        /// What happened.
        #[source]
        source: bollard::errors::Error,
    },
    /// An image is not on this machine.
    #[error("the image {image} is not on this machine; `docker pull` it, or name another one")]
    NoImage {
        /// Its name.
        image: String,
    },
    /// The daemon refused something, or did not answer.
    #[error("Docker could not {operation}")]
    Docker {
        /// What was being done.
        operation: &'static str,
        /// Why not.
        #[source]
        source: bollard::errors::Error,
    },
    /// The runtime stops.
    #[error("the service stops")]
    Stopped,
    /// The folder of this service's life cannot be used.
    #[error("{} cannot be used for containers", folder.display())]
    Folder {
        /// Which one.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

pub(crate) fn docker(operation: &'static str) -> impl Fn(bollard::errors::Error) -> ContainerError {
    move |source| ContainerError::Docker { operation, source }
}

/// Whether what was asked about is not there.
pub(crate) fn is_not_found(error: &bollard::errors::Error) -> bool {
    matches!(error, bollard::errors::Error::DockerResponseServerError { status_code: 404, .. })
}
