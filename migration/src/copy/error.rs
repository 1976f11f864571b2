use std::time::Duration;

use crate::{
    finding::{Finding, Listed},
    link::LinkError,
    slice::SliceError,
};

/// Why a copy did not end. No message holds a connection URL.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The slice could not be planned.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// A database could not be reached, read or prepared.
    #[error("cannot {what}")]
    Database {
        /// What was being done.
        what: &'static str,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// The source could not be reached or read by who copies its rows.
    #[error("cannot {what}")]
    Link {
        /// What was being done.
        what: &'static str,
        /// The cause.
        #[source]
        source: LinkError,
    },
    /// Nothing more can be read at the snapshot. What is left may be read at a later one.
    #[error(
        "the snapshot `{id}` is gone: the session that took it has ended; run it again, and what is left is read at a later one"
    )]
    SnapshotGone {
        /// What its session called it.
        id: String,
    },
    /// Something must change before a copy makes sense.
    #[error("the target cannot take the rows:\n{}", Listed(findings))]
    Unfit {
        /// Everything that must change.
        findings: Vec<Finding>,
    },
    /// Somebody else copies the slice.
    #[error("another copy of this slice has been running for more than {} s", waited.as_secs())]
    Busy {
        /// How long this one has waited.
        waited: Duration,
    },
    /// A part of a table could not be copied; nothing of it is there.
    #[error("cannot copy part {chunk} of `{table}`")]
    Chunk {
        /// The candidate's table.
        table: String,
        /// Counts from 0.
        chunk: i32,
        /// The cause.
        #[source]
        source: TransferError,
    },
    /// An index or constraint could not be made.
    #[error("cannot make `{name}` of `{table}`")]
    Definition {
        /// The candidate's table.
        table: String,
        /// Its name.
        name: String,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// A part of this program ended in a way that it should not.
    #[error("a reader ended unexpectedly")]
    Reader(#[source] tokio::task::JoinError),
}

/// Which side a part of a table failed at.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The one that is read.
    #[error(transparent)]
    Source(LinkError),
    /// The one that is written.
    #[error(transparent)]
    Target(LinkError),
}

impl CopyError {
    pub(super) fn link(what: &'static str) -> impl FnOnce(LinkError) -> Self {
        move |source| Self::Link { what, source }
    }

    pub(super) fn database(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { what, source }
    }
}
