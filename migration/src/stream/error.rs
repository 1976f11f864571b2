use std::time::Duration;

use crate::{
    copy::{CopyError, TransferError},
    finding::{Finding, Listed},
    link::LinkError,
    pgoutput::Malformed,
    slice::SliceError,
};

/// Why a stream could not begin, or ended. No message holds a connection URL.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The slice could not be planned.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// Its rows could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A database could not be reached, read or written.
    #[error("cannot {what}")]
    Database {
        /// What was being done.
        what: &'static str,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// The replication connection could not be made, or broke.
    #[error("cannot {what}")]
    Link {
        /// What was being done.
        what: &'static str,
        /// The cause.
        #[source]
        source: LinkError,
    },
    /// The stream makes no sense.
    #[error("the stream cannot be read")]
    Malformed(#[from] Malformed),
    /// Something must change before changes can flow.
    #[error("changes cannot flow yet:\n{}", Listed(findings))]
    Unfit {
        /// Everything that must change.
        findings: Vec<Finding>,
    },
    /// Somebody else streams the slice.
    #[error(
        "another process streams this slice, and has not ended within {} s: stop its `db sync`, and run this again",
        waited.as_secs()
    )]
    Busy {
        /// How long this one has waited.
        waited: Duration,
    },
    /// The slice has never been streamed.
    #[error("no stream of `{slice}` has begun in this direction")]
    Unknown {
        /// The slice.
        slice: String,
    },
    /// A position was not reached in time.
    #[error("it has applied everything up to {applied}, and not up to {wanted} within {} ms", waited.as_millis())]
    Behind {
        /// What has been applied.
        applied: String,
        /// What was waited for.
        wanted: String,
        /// How long.
        waited: Duration,
    },
    /// It stopped by itself, and goes on when somebody has done what is said here.
    #[error("the stream of `{slice}` has stopped: {reason}")]
    Stopped {
        /// The slice.
        slice: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Its slot is gone, and changes with it. Nothing short of a new copy makes up for them.
    #[error(
        "the slot of `{slice}` is lost: {reason}. What was written since then never arrives; --restart-lost begins anew, with a new slot and a new copy"
    )]
    Lost {
        /// The slice.
        slice: String,
        /// How it came to that.
        reason: String,
    },
}

impl StreamError {
    pub(crate) fn database(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { what, source }
    }

    pub(crate) fn link(what: &'static str) -> impl FnOnce(LinkError) -> Self {
        move |source| Self::Link { what, source }
    }

    /// Whether the same may work a moment later: a database is away, restarts or is short of something.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database { source, .. } => is_transient(source),
            Self::Copy(
                CopyError::Slice(SliceError::Inspect { source, .. })
                | CopyError::Database { source, .. }
                | CopyError::Definition { source, .. },
            )
            | Self::Slice(SliceError::Inspect { source, .. }) => is_transient(source),
            // The session of a snapshot ended with the server; the next attempt has a snapshot of its own.
            Self::Copy(CopyError::Busy { .. } | CopyError::SnapshotGone { .. }) => true,
            Self::Copy(
                CopyError::Link { source, .. }
                | CopyError::Chunk { source: TransferError::Source(source) | TransferError::Target(source), .. },
            ) => is_transient_link(source),
            // 42710: who was killed a moment ago is still making it.
            Self::Link { source, .. } => is_transient_link(source) || source.code() == Some("42710"),
            _ => false,
        }
    }
}

fn is_transient_link(error: &LinkError) -> bool {
    match error {
        LinkError::Io(_) | LinkError::Silent { .. } => true,
        LinkError::Server { code, .. } => transient_code(code),
        LinkError::Tls(_) | LinkError::Authentication(_) | LinkError::Protocol(_) => false,
    }
}

/// Whether the same statement may work later.
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| transient_code(&code)),
        _ => false,
    }
}

/// 08 connection, 40 serialisation and deadlock, 53 resources, 55P03 lock timeout, 55006 a slot or
/// origin that is in use, 57 shutdown and cancellation, 58 system.
fn transient_code(code: &str) -> bool {
    ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || matches!(code, "55P03" | "55006")
}
