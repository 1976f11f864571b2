//! What services ask of Docker.
//!
//! - [`Daemon`]: the daemon on this machine, asked over its socket.
//! - [`Household`]: the containers of one life of a service. Each is labelled with that life; what a life that was killed left
//!   behind is removed by the next one, whoever else uses the daemon.
//! - [`Container`]: one of them, confined ([`ContainerPlan`]), whose end is known when it comes. Dropping it removes it.
//! - [`Daemon::build_image`]: an image from a Dockerfile, without a network unless it is allowed one.
//!
//! Containers have no network and no capability, a read-only root, the daemon's default filter of system calls, and may
//! gain no privilege; what they may write is in memory and has a size. Nothing is ever pulled: an image that is not there
//! is an error that says so.

mod config;
mod container;
mod daemon;
mod dockerfile;
mod error;
mod household;
mod image;
mod life_folder;
mod plan;

pub use config::DockerConfig;
pub use container::{Container, ContainerEnd};
pub use daemon::Daemon;
pub use error::ContainerError;
pub use household::Household;
pub use image::{BuiltImage, ImageBuild, ImagePlan};
pub use plan::{ContainerPlan, ReadOnlyMount};
