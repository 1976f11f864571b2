//! Where the revisions of the rollout document are kept.
//!
//! A [`Store`] is an append-only list of [`Revision`]s, each chained to the one before. There are two:
//! [`FileStore`] for the gateways of one machine, [`PostgresStore`] for those of many.
//!
//! - **Order.** Revisions are numbered from 1 without a gap. Whoever reads sees a prefix of the list.
//! - **One writer wins.** Of two that append the same number one is told [`StoreError::Conflict`].
//! - **Durability.** When an append has returned, the revision survives a power cut.
//! - **Duplicates.** None: an append that fails has kept nothing, but for
//!   [`StoreError::Unknown`], after which the revision is there or is not; reading on tells.
//! - **Waiting.** Every call ends within the store's own time limits.

mod change_log;
mod document_file;
mod file;
mod last_good;
mod leases;
mod postgres;
mod rows;

use std::{io, path::PathBuf};

use judgement::Renewal;

pub use document_file::FileError;
pub(super) use document_file::{DocumentFile, SETTLE};
pub(super) use file::{FileStore, log_beside};
pub(super) use last_good::{LastGood, Pending};
pub(super) use postgres::{PostgresStore, channel};
pub(crate) use postgres::{connect, fence_channel, options, within};
pub(super) use rows::from as revisions_from;

use super::chain::{Break, Head, LogEntry, Revision};

/// As many revisions are read at once.
pub(super) const PAGE: usize = 500;

/// See the module.
pub(super) trait Store: Send {
    /// The document's file on this machine.
    fn document_file(&self) -> &DocumentFile;

    /// Whether people change the document by editing that file. If not, it is a copy.
    fn follows_file(&self) -> bool;

    /// The revisions after this one in their order, at most [`PAGE`]. None when there are none yet.
    fn since(&mut self, revision: u64) -> Result<Vec<Revision>, StoreError>;

    /// As [`Store::since`], and the text in the document's file at the same moment: no append of
    /// another process lies between the two.
    fn look(&mut self, revision: u64) -> Result<Look, StoreError>;

    /// Appends a revision.
    fn append(&mut self, next: &Revision) -> Result<(), StoreError>;

    /// One revision, if it is there.
    fn find(&mut self, revision: u64) -> Result<Option<Revision>, StoreError>;

    /// The latest entries that match, the latest first.
    fn recent(&mut self, query: &HistoryQuery) -> Result<Vec<LogEntry>, StoreError>;

    /// The lease of a route's ramp.
    fn lease(&mut self, route: &str) -> Result<Option<Renewal>, StoreError>;

    /// Replaces a lease that is as `before`; `false` when it is not.
    fn renew_lease(&mut self, route: &str, before: Option<Renewal>, next: Renewal) -> Result<bool, StoreError>;

    /// Forgets a lease.
    fn drop_lease(&mut self, route: &str) -> Result<(), StoreError>;

    /// Keeps on this machine what it would start from if the store were away: the last revision, the
    /// rollbacks that are not in it, and the document that has both.
    fn keep_here(&mut self, document: &str, head: &Head, pending: &[Pending]) -> Result<(), FileError>;
}

/// What [`Store::look`] finds.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) newer: Vec<Revision>,
    pub(super) text: Option<String>,
}

/// Which entries of the log are asked for.
#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    /// Only those that changed something about this route.
    pub route: Option<String>,
    /// Only those before this revision.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

impl HistoryQuery {
    fn takes(&self, entry: &LogEntry) -> bool {
        let about = |route: &String| entry.changes.iter().any(|change| change.route() == Some(route));
        self.before.is_none_or(|before| entry.revision < before) && self.route.as_ref().is_none_or(about)
    }
}

/// What could not be done with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another revision of this number is there already.
    #[error("another change came first")]
    Conflict,
    /// The document's file could not be read or replaced.
    #[error(transparent)]
    File(#[from] FileError),
    /// The change log could not be read or written.
    #[error("cannot write {}", .path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The change log holds what this gateway did not write.
    #[error("line {line} of {} is no entry of a change log; restore that file, or move it away to begin another", .path.display())]
    BrokenLog {
        /// The log.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The revisions that are there are not those that this gateway has seen.
    #[error("the store's history is not the one this gateway knows ({0}): was it restored from a backup, or edited?")]
    Diverged(Break),
    /// The store does not answer, and nothing was kept.
    #[error("the rollout store does not answer")]
    Away(#[source] sqlx::Error),
    /// The store stopped answering while it kept the change.
    #[error(
        "the rollout store broke off while it kept the change, which may or may not be in force; look at the history \
         before asking again"
    )]
    Unknown(#[source] sqlx::Error),
    /// The store answers, but not as it should.
    #[error("the rollout store refused")]
    Refused(#[source] sqlx::Error),
    /// The store's tables could not be made.
    #[error("the rollout store's tables could not be made or brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}
