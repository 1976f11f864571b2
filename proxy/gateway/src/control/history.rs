//! Looking back, and looking ahead: the log, its verification, what an undo restores, what a document
//! would change.

use std::collections::BTreeSet;

use layered_config::Problems;
use serde::Serialize;

use super::{
    Break, ChangeError, Control, Head, HistoryQuery, Kind, LogEntry, StoreError, Verification, Verified, Writer,
    difference::Difference,
};
use crate::rollout::{DocumentText, Weight};

/// What a document would change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The revision it was compared with.
    pub revision: u64,
    /// That revision's hash.
    pub hash: String,
    /// Every value that would change.
    pub changes: Vec<Difference>,
    /// The routes whose share would change.
    pub routes: Vec<RouteMove>,
    /// Whether the text differs at all, be it in comments only.
    pub text_differs: bool,
}

/// A route whose share of keys on the candidate would change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteMove {
    /// Its name.
    pub route: String,
    /// Its share now.
    pub from_percent: Weight,
    /// Its share then.
    pub to_percent: Weight,
    /// Its epoch now.
    pub epoch: u64,
}

/// Why the history could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It does not hold together.
    #[error(transparent)]
    Broken(#[from] Break),
    /// It could not be read.
    #[error("the change log could not be read")]
    Store(#[from] StoreError),
}

impl Control {
    /// The latest changes that match, the latest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn history(&self, query: &HistoryQuery) -> Result<Vec<LogEntry>, StoreError> {
        self.writer().store.recent(query)
    }

    /// Follows the whole chain of the log. With `head`, the hash of an entry that was once the last
    /// one, also a log that was cut off before it is found out.
    ///
    /// # Errors
    /// Where it breaks, or why it could not be read.
    pub fn verify_history(&self, head: Option<String>) -> Result<Verified, HistoryError> {
        let mut verification = Verification::wanting(head);
        loop {
            // Changes come in between pages: verifying a long log holds none of them up for long.
            let page = self.writer().store.since(verification.reached())?;
            if page.is_empty() {
                return Ok(verification.end()?);
            }
            page.iter().try_for_each(|revision| verification.follow(revision))?;
        }
    }

    /// What this document would change, and changes nothing.
    ///
    /// # Errors
    /// Every problem in the document.
    pub fn plan(&self, text: &str) -> Result<Plan, Problems> {
        let head = self.writer().head.clone();
        let document = self.live.parse("document", text)?;
        let epochs = self.live.epochs_after(&head, Some(&document));
        let snapshot = self.snapshot();
        let moves = self.split_routes().filter_map(|id| {
            let (now, then) = (snapshot.get(id), document.get(id).map_or(Weight::NONE, |entry| entry.weight));
            let route = self.table().get(id).name.clone();
            let planned = RouteMove { route, from_percent: now.weight, to_percent: then, epoch: now.epoch };
            (now.weight != then).then_some(planned)
        });
        Ok(Plan {
            changes: Difference::between((&head.document, &head.epochs), (text, &epochs)),
            routes: moves.collect(),
            text_differs: head.document != text,
            revision: head.revision,
            hash: head.hash,
        })
    }

    /// The document as it was before a revision, with today's epochs.
    pub(super) fn text_before(
        &self,
        writer: &mut Writer,
        revision: Option<u64>,
        confirmed: bool,
    ) -> Result<String, ChangeError> {
        let revision = revision.unwrap_or(writer.head.revision);
        if revision == 0 || revision > writer.head.revision {
            return Err(ChangeError::NoSuchRevision(revision));
        }
        let before = match revision {
            1 => String::new(),
            _ => writer.store.find(revision - 1)?.ok_or(ChangeError::NoSuchRevision(revision))?.document,
        };
        let text = with_epochs(&before, &writer.head);
        if !confirmed {
            let routes = self.returning(writer, revision, &text)?;
            if !routes.is_empty() {
                return Err(ChangeError::UndoesRollback { routes });
            }
        }
        Ok(text)
    }

    /// The routes that were rolled back since that revision, and that this text sends back to the
    /// candidate.
    fn returning(&self, writer: &mut Writer, revision: u64, text: &str) -> Result<Vec<String>, ChangeError> {
        let mut rolled_back = BTreeSet::new();
        let mut reached = revision - 1;
        while reached < writer.head.revision {
            let page = writer.store.since(reached)?;
            let Some(last) = page.last() else { break };
            reached = last.entry.revision;
            let rollbacks = page.iter().filter(|next| next.entry.kind == Kind::Rollback);
            let routes = rollbacks.flat_map(|next| &next.entry.changes).filter_map(Difference::route);
            rolled_back.extend(routes.map(ToOwned::to_owned));
        }
        let parsed = self.live.parse_known(&self.document_name(), text);
        let document = parsed.map_err(ChangeError::BrokenDocument)?;
        let snapshot = self.snapshot();
        rolled_back.retain(|route| {
            let id = self.table().by_name(route);
            id.is_some_and(|id| document.get(id).is_some_and(|then| then.weight > snapshot.get(id).weight))
        });
        Ok(rolled_back.into_iter().collect())
    }
}

/// A document of the past, with the epochs that have come since.
fn with_epochs(text: &str, head: &Head) -> String {
    let mut document = DocumentText::parse(text).unwrap_or_default();
    document.raise_epochs(&head.epochs);
    document.to_string()
}
