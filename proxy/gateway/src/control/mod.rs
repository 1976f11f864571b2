//! The live rollout state, and every way to change it.
//!
//! Requests read one [`Snapshot`] through `arc-swap`; a change replaces it as a whole. What is in
//! force is a **revision** of the rollout document: a text, who made it, why, and the hash of the
//! revision before ([`LogEntry`]). A store keeps the revisions, in a file with a log beside it or in
//! PostgreSQL, where several gateways share them; their number is the same everywhere.
//!
//! - A **change** ([`Control::change`]) is made from the last revision, kept, and then put in force.
//!   What cannot be kept is not put in force. Of two that start from the same revision one has to
//!   start again, or is refused when it expected that very revision.
//! - A **rollback** ([`Control::roll_back`]) is put in force first and kept afterwards, because
//!   leaving the candidate must not wait for a disk or a database. Until the store has it, it is
//!   *pending*: it is tried again until it can be kept, and no document that lacks it brings its
//!   routes back. With a shared store it is on this machine's disk meanwhile.
//! - A **reading** of the document's file ([`Control::reload`]) takes in what a person has edited. A
//!   broken file changes nothing but the problem that status, log and metric show. With a shared
//!   store the file is a copy, and an edit of it is refused in the same way.
//! - What **another gateway** has changed is followed by [`Watcher`]: a notice wakes it, and it looks
//!   by itself in case a notice was lost.
//!
//! One lock makes changes wait for each other, also while they wait for the store. Another, which is
//! never held over a wait, guards the state itself, so a rollback waits for nobody.

mod chain;
mod change;
mod difference;
mod follower;
mod history;
mod leases;
mod live;
mod metrics;
mod reading;
mod rollback;
mod start;
mod store;
mod trouble;
mod watcher;
mod writing;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::Guard;
use tokio::sync::futures::Notified;

pub use chain::{Break, Fault, Head, LogEntry, NO_HASH, Revision, Verification, Verified};
pub use change::{Authorship, Change, ChangeError, Changed, Expect, Kind};
pub use difference::Difference;
pub use history::{HistoryError, Plan, RouteMove};
pub(crate) use metrics::ControlMetrics;
pub use rollback::Rollback;
pub use start::StartError;
pub use store::{FileError, HistoryQuery, StoreError};
pub(crate) use store::{connect, fence_channel, options, within};
pub use watcher::Watcher;
pub(crate) use watcher::on_blocking_thread;

use crate::{
    config::StoreKind,
    limit::Policies,
    recall::Recall,
    rollout::Snapshot,
    route_table::{RouteId, RouteTable},
};
use live::Live;
use store::{DocumentFile, Store};
use trouble::{About, Trouble};

/// How often a change starts again because another one came first.
const ATTEMPTS: usize = 16;

/// The live state and its store.
pub struct Control {
    live: Live,
    writer: Mutex<Writer>,
    trouble: Trouble,
    metrics: Arc<ControlMetrics>,
    kind: StoreKind,
    /// What errors call the document, and where people find it.
    path: PathBuf,
}

/// What only one change at a time may touch.
struct Writer {
    store: Box<dyn Store>,
    /// The last revision that is known.
    head: Head,
    /// A text of the file that was refused, so that it is not read again and again.
    refused: Option<String>,
    /// A text of the file that is in force although the log does not have it.
    unrecorded: Option<String>,
}

impl Control {
    /// The state in force.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.live.snapshot()
    }

    /// Ends when the state in force is another than at the time of this call.
    pub(crate) fn next_revision(&self) -> Notified<'_> {
        self.live.next_revision()
    }

    /// The routes the state is about.
    #[must_use]
    pub fn table(&self) -> &RouteTable {
        self.live.table()
    }

    /// The requests that wait on the candidate.
    pub(crate) fn recall(&self) -> &Arc<Recall> {
        self.live.recall()
    }

    /// The limit policies the state is about.
    #[must_use]
    pub fn policies(&self) -> &Policies {
        self.live.policies()
    }

    /// The document's file on this machine.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who keeps the document.
    #[must_use]
    pub fn store(&self) -> StoreKind {
        self.kind
    }

    /// What is wrong: why the file's document is not in force, why a rollback or a change is not
    /// recorded, why the store is not heard.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.trouble.text()
    }

    /// The last revision that is known, in force or not. Waits for a change that is being made.
    #[must_use]
    pub fn head(&self) -> Head {
        self.writer().head.clone()
    }

    /// The routes whose rollback is in force here but not in the store.
    #[must_use]
    pub fn pending_rollbacks(&self) -> Vec<String> {
        self.live.pending().into_iter().flat_map(|rollback| rollback.routes.into_keys()).collect()
    }

    /// Whether the store answered when it was last asked.
    #[must_use]
    pub fn store_is_up(&self) -> bool {
        !self.trouble.is_noted(About::Store)
    }

    /// Seconds since the store last answered; `None` when it never has.
    #[must_use]
    pub fn store_age_s(&self) -> Option<f64> {
        self.metrics.store_age_s()
    }

    /// The routes with two sides, which are those that can move.
    fn split_routes(&self) -> impl Iterator<Item = RouteId> {
        self.table().iter().filter(|(_, route)| route.sides.is_split()).map(|(id, _)| id)
    }

    fn document_name(&self) -> String {
        self.path.display().to_string()
    }

    /// A change that panicked has left no more than the store can tell again.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text of the document in this file, if there is one.
pub(crate) fn read_document(path: &Path) -> Result<Option<String>, FileError> {
    DocumentFile::new(path.to_owned()).read()
}

/// An error with its causes, on one line. Some errors say their cause themselves; it is said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
