//! The live rollout state, and every way to change it.
//!
//! Requests read one [`Snapshot`] through `arc-swap`; a change replaces it as a whole. Changes come
//! from the document's file, which a person may edit at any time, from the admin API and from
//! signals. All of them take one lock, so each sees the outcome of the one before.
//!
//! - A **weight change** edits the file first and swaps the state afterwards: what could not be
//!   kept is not put in force.
//! - A **rollback** swaps first and edits afterwards, because leaving the candidate must not wait
//!   for a disk. It is kept before it is answered. A file that cannot be read as a document is put
//!   aside; a file that cannot be written is tried again until it can, and until then no reading of
//!   it brings a rolled back route back.
//! - A **reading** of a broken file changes nothing but the problem that status, log and metric show.

mod file;
mod watcher;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::{ArcSwap, Guard};
use layered_config::Problems;

pub use file::FileError;
pub use watcher::Watcher;
pub(crate) use watcher::on_blocking_thread;

use crate::{
    limit::Policies,
    metrics::Metrics,
    rollout::{DocumentText, RolloutDocument, Snapshot, Weight},
    route_table::{RouteId, RouteTable},
};
use file::DocumentFile;

/// The live state and its file.
pub struct Control {
    table: Arc<RouteTable>,
    policies: Arc<Policies>,
    metrics: Arc<Metrics>,
    live: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
    trouble: Mutex<Trouble>,
    path: PathBuf,
}

/// What is wrong with the file, for people.
#[derive(Debug, Default)]
struct Trouble {
    /// Why the document in it is not in force.
    document: Option<String>,
    /// Why a rollback that is in force is not in it.
    unkept: Option<String>,
}

/// What only one change at a time may touch.
struct Writer {
    file: DocumentFile,
    /// The text that was read or written last, whether it was accepted or not.
    seen: Option<String>,
    /// Routes whose rollback is in force but not yet in the file.
    unkept: BTreeSet<RouteId>,
}

/// Who changes something, and why.
#[derive(Debug, Clone)]
pub struct Authorship {
    /// A person or program.
    pub actor: String,
    /// In their words.
    pub reason: String,
}

/// A weight that was changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightChange {
    /// The weight before.
    pub from: Weight,
    /// The weight now.
    pub to: Weight,
    /// The route's epoch, which a weight change leaves alone.
    pub epoch: u64,
    /// The state it is in force with.
    pub revision: u64,
}

/// Routes that were taken back to legacy.
#[derive(Debug)]
pub struct Rollback {
    /// Each route with its weight before and its new epoch.
    pub routes: Vec<(RouteId, Weight, u64)>,
    /// The state it is in force with.
    pub revision: u64,
    /// Whether it would survive a restart; if not, why not.
    pub kept: Result<(), FileError>,
    /// Where the file was put that could not be read as a document.
    pub set_aside: Option<PathBuf>,
}

/// Why a weight was not changed.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// The route has one side only.
    #[error("route `{0}` has one side only, so no share of it can move")]
    OneSided(String),
    /// The document has problems that must be mended first.
    #[error("the rollout document is broken, and nothing was changed: {}", .0.summary())]
    BrokenDocument(Problems),
    /// The document could not be read or written.
    #[error("the rollout document could not be changed")]
    File(#[source] FileError),
}

/// Why the state could not be made at the start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The document has problems.
    #[error(transparent)]
    BrokenDocument(#[from] Problems),
    /// The document could not be read.
    #[error("the rollout document could not be read")]
    File(#[source] FileError),
}

impl Control {
    /// Starts from the document in this file. No file: everything is on legacy.
    ///
    /// # Errors
    /// When the document is broken or cannot be read.
    pub fn start(
        path: PathBuf,
        table: Arc<RouteTable>,
        policies: Arc<Policies>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let file = DocumentFile::new(path.clone());
        let initial = Snapshot::initial(&table, &policies);
        let seen = file.read().map_err(StartError::File)?;
        let snapshot = match &seen {
            None => initial,
            Some(text) => {
                let document = RolloutDocument::parse(&file.name(), text, (&table, &policies), |_| None)?;
                initial.with_document(&document, &BTreeSet::new())
            }
        };
        metrics.state_changed(&snapshot);
        Ok(Self {
            table,
            policies,
            metrics,
            live: ArcSwap::from_pointee(snapshot),
            writer: Mutex::new(Writer { file, seen, unkept: BTreeSet::new() }),
            trouble: Mutex::default(),
            path,
        })
    }

    /// The state in force.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.live.load()
    }

    /// The routes the state is about.
    #[must_use]
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// The limit policies the state is about.
    #[must_use]
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The document's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with the file: why its document is not in force, or why a rollback is not in it.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let trouble = self.trouble();
        let parts: Vec<&str> = [&trouble.unkept, &trouble.document].into_iter().flatten().map(String::as_str).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Reads the file if it is not as it was when it was last read or written, and puts it in force.
    pub fn reload(&self) {
        let mut writer = self.writer();
        if !writer.unkept.is_empty() {
            self.keep_late(&mut writer);
        }
        let text = match writer.file.read() {
            Ok(Some(text)) if writer.seen.as_ref() == Some(&text) => return self.unchanged(&writer, &text),
            Ok(Some(text)) => text,
            Ok(None) if writer.seen.is_none() => return,
            Ok(None) => return self.refuse("the file is gone; put it back"),
            Err(error) => return self.refuse(&chain(&error)),
        };
        let parsed = self.parse(&writer, &text);
        writer.seen = Some(text);
        match parsed {
            Err(problems) => self.refuse(&problems.to_string()),
            Ok(document) => {
                let snapshot = self.adopt(&document, &writer.unkept);
                self.accepted();
                tracing::info!(revision = snapshot.revision(), "rollout document in force");
            }
        }
    }

    /// The file holds what was read or written last, so at most its problem has gone: it was missing
    /// or unreadable for a while.
    fn unchanged(&self, writer: &Writer, text: &str) {
        if self.trouble().document.is_some() && self.parse(writer, text).is_ok() {
            self.accepted();
        }
    }

    /// Sets a route's weight, in the file and then in the state. Whatever else a person has changed
    /// in the file meanwhile comes into force with it.
    ///
    /// # Errors
    /// When the route has one side, or the document is broken or cannot be changed. Then nothing has
    /// changed.
    pub fn set_weight(&self, route: RouteId, to: Weight, by: &Authorship) -> Result<WeightChange, WeightError> {
        let name = &self.table.get(route).name;
        if !self.table.get(route).sides.is_split() {
            return Err(WeightError::OneSided(name.clone()));
        }
        let mut writer = self.writer();
        let text = writer.file.read().map_err(WeightError::File)?.unwrap_or_default();
        let document = self.parse(&writer, &text).map_err(WeightError::BrokenDocument)?;
        let before = self.live.load_full();
        let epoch = before.with_document(&document, &BTreeSet::new()).get(route).epoch;
        let changed = edit(&text, |document| document.set(name, to, epoch));
        let document = self.parse(&writer, &changed).map_err(WeightError::BrokenDocument)?;
        writer.file.write(&changed).map_err(WeightError::File)?;
        writer.seen = Some(changed);
        // Asking for a weight again is how an operator ends a rollback.
        writer.unkept.remove(&route);
        if writer.unkept.is_empty() {
            self.trouble().unkept = None;
        }
        let after = self.adopt(&document, &writer.unkept);
        self.accepted();
        let change = WeightChange { from: before.get(route).weight, to, epoch, revision: after.revision() };
        tracing::info!(
            route = %name, from_percent = change.from.percent(), to_percent = to.percent(),
            revision = change.revision, actor = %by.actor, reason = %by.reason, "weight changed"
        );
        Ok(change)
    }

    /// Takes routes back to legacy: in force when this has been called for an instant, kept when it
    /// returns. Routes with one side are left alone.
    pub fn roll_back(&self, routes: &[RouteId], by: &Authorship) -> Rollback {
        let split: Vec<RouteId> =
            routes.iter().copied().filter(|route| self.table.get(*route).sides.is_split()).collect();
        let mut writer = self.writer();
        let before = self.live.load_full();
        let after = before.rolled_back(&split);
        self.put_in_force(after.clone());
        writer.unkept.extend(&split);
        let set_aside = self.set_broken_aside(&mut writer);
        let kept = set_aside.and_then(|aside| self.keep(&mut writer).map(|()| aside));
        let (kept, set_aside) = match kept {
            Ok(aside) => (Ok(()), aside),
            Err(error) => {
                let unkept = format!("a rollback is in force but not kept: {}", chain(&error));
                self.trouble().unkept = Some(unkept);
                (Err(error), None)
            }
        };
        let outcome = Rollback {
            routes: split.iter().map(|id| (*id, before.get(*id).weight, after.get(*id).epoch)).collect(),
            revision: self.snapshot().revision(),
            kept,
            set_aside,
        };
        for (id, from, epoch) in &outcome.routes {
            self.metrics.rolled_back(*id);
            tracing::warn!(
                route = %self.table.get(*id).name, from_percent = from.percent(), epoch, kept = outcome.kept.is_ok(),
                actor = %by.actor, reason = %by.reason, "rolled back to legacy"
            );
        }
        outcome
    }

    /// Takes every route back to legacy that has a legacy side and a candidate.
    pub fn roll_back_all(&self, by: &Authorship) -> Rollback {
        let all: Vec<RouteId> = self.table.iter().map(|(id, _)| id).collect();
        self.roll_back(&all, by)
    }

    /// Moves a file that is no valid document out of the way, so that a rollback can be written.
    fn set_broken_aside(&self, writer: &mut Writer) -> Result<Option<PathBuf>, FileError> {
        let broken = match writer.file.read() {
            Ok(None) => false,
            Ok(Some(text)) => self.parse(writer, &text).is_err(),
            // Not UTF-8, for one; a file that cannot be read for other reasons cannot be moved either.
            Err(_) => true,
        };
        if !broken {
            return Ok(None);
        }
        let aside = writer.file.set_aside()?;
        tracing::warn!(path = %aside.display(), "broken rollout document put aside");
        Ok(Some(aside))
    }

    /// Writes what is in force for the routes not kept yet. The rest of the file stays, and a
    /// person's changes to it that were not read yet come into force.
    fn keep(&self, writer: &mut Writer) -> Result<(), FileError> {
        let live = self.live.load_full();
        let text = writer.file.read()?;
        let changed = match text {
            Some(text) => edit(&text, |document| {
                for id in &writer.unkept {
                    let (name, state) = (&self.table.get(*id).name, live.get(*id));
                    document.set(name, state.weight, state.epoch);
                    document.void_candidate_pins(name);
                }
            }),
            // Without a file to edit, the one written says everything that is in force.
            None => live.document(&self.table, &self.policies).to_string(),
        };
        writer.file.write(&changed)?;
        if let Ok(document) = self.parse(writer, &changed) {
            self.adopt(&document, &BTreeSet::new());
        }
        writer.seen = Some(changed);
        writer.unkept.clear();
        self.trouble().unkept = None;
        self.accepted();
        Ok(())
    }

    /// Tries again what [`Control::roll_back`] could not keep.
    fn keep_late(&self, writer: &mut Writer) {
        let kept = self.set_broken_aside(writer).and_then(|_| self.keep(writer));
        match kept {
            Ok(()) => tracing::info!("the rollback is kept now"),
            Err(error) => tracing::debug!(error = %chain(&error), "the rollback is still not kept"),
        }
    }

    fn parse(&self, writer: &Writer, text: &str) -> Result<RolloutDocument, Problems> {
        let live = self.live.load();
        // A rollback that is not in the file yet is newer than anything the file says.
        let running = |id| (!writer.unkept.contains(&id)).then(|| live.get(id).epoch);
        RolloutDocument::parse(&writer.file.name(), text, (&self.table, &self.policies), running)
    }

    fn adopt(&self, document: &RolloutDocument, unkept: &BTreeSet<RouteId>) -> Snapshot {
        let live = self.live.load_full();
        let next = live.with_document(document, unkept);
        self.put_in_force(next.clone());
        next
    }

    fn put_in_force(&self, snapshot: Snapshot) {
        self.metrics.state_changed(&snapshot);
        self.live.store(Arc::new(snapshot));
    }

    fn accepted(&self) {
        self.metrics.document_read(true);
        self.trouble().document = None;
    }

    fn refuse(&self, problem: &str) {
        self.metrics.document_read(false);
        let known = self.trouble().document.replace(problem.to_owned());
        if known.as_deref() != Some(problem) {
            tracing::error!(%problem, "rollout document refused; the state before it stays in force");
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change that panicked has left the state as a whole: it is replaced, never changed in place.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text of the document in this file, if there is one.
pub(crate) fn read_document(path: &Path) -> Result<Option<String>, FileError> {
    DocumentFile::new(path.to_owned()).read()
}

/// The text with this change. A text that is no TOML is replaced.
fn edit(text: &str, change: impl FnOnce(&mut DocumentText)) -> String {
    let mut document = DocumentText::parse(text).unwrap_or_default();
    change(&mut document);
    document.to_string()
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
