use std::time::Duration;

use super::{gateway::GatewayError, hooks::HookError, plan::Obstacle};
use crate::{slice::SliceError, stream::StreamError, verify::VerifyError};

/// Why a cutover did not happen, or is not known to have. No message holds an address with its password.
#[derive(Debug, thiserror::Error)]
pub enum CutoverError {
    /// Something must change first. Nothing was done.
    #[error("it cannot happen yet; nothing was changed:\n{}", list(.0))]
    Obstacles(Vec<Obstacle>),
    /// The slice could not be planned.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// A stream could not be used.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The rows could not be compared.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The gateway did not do as it was asked.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// A service did not do what a hook asks of it.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// A database could not be reached, read or written.
    #[error("cannot {what}")]
    Database {
        /// What was being done.
        what: &'static str,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// Writes were held for as long as they may be.
    #[error("writes were held for {} ms without coming to an end ({during})", held.as_millis())]
    TooLong {
        /// How long.
        held: Duration,
        /// What was being waited for.
        during: &'static str,
    },
    /// The rows that were written last are not the same on both sides.
    #[error("the newest rows differ: {}", .0.join(", "))]
    TailDiffers(Vec<String>),
    /// Rows came into quarantine meanwhile.
    #[error("{0} changes are in quarantine, so rows differ; see `strangler db status`")]
    Quarantine(u64),
    /// Another process is at it.
    #[error("another process is cutting this slice over, or rolling it back")]
    Busy,
    /// The rollout was asked for the new owner, and nobody knows what came of it.
    #[error(
        "whether the new owner is in force is not known: {why}; writes are no longer held. Run the same again: it finds \
         out, and finishes or undoes"
    )]
    Unknown {
        /// Why not.
        why: String,
    },
    /// The new owner is in force, but what comes after is not done.
    #[error("the new owner is in force; what is left to do failed, so run the same again")]
    Unfinished(#[source] Box<CutoverError>),
}

impl CutoverError {
    pub(super) fn database(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { what, source }
    }
}

fn list(obstacles: &[Obstacle]) -> String {
    obstacles.iter().map(|obstacle| format!("- {obstacle}")).collect::<Vec<_>>().join("\n")
}
