//! Making a change: from the last revision, kept, then in force.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound as _, Utc};

use super::{
    ATTEMPTS, About, Authorship, Change, ChangeError, Changed, Control, Expect, Head, Kind, LogEntry, Revision,
    StoreError, Writer, chain, difference::Difference,
};
use crate::rollout::RolloutDocument;

/// A revision that is to be.
pub(super) struct Draft<'a> {
    pub(super) text: String,
    /// What the text says, unless this gateway's routes are not those it is about.
    pub(super) document: Option<RolloutDocument>,
    /// Epochs that are new with it.
    pub(super) epochs: BTreeMap<String, u64>,
    pub(super) kind: Kind,
    pub(super) by: &'a Authorship,
    /// To the microsecond.
    pub(super) at: DateTime<Utc>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(text: String, document: RolloutDocument, kind: Kind, by: &'a Authorship) -> Self {
        let (document, epochs, at) = (Some(document), BTreeMap::new(), Utc::now().trunc_subsecs(6));
        Self { text, document, epochs, kind, by, at }
    }
}

impl Control {
    /// Makes one change, and returns when it is kept and in force here. Whatever a person has saved
    /// in the document's file meanwhile comes into force before it, as a change of its own.
    ///
    /// # Errors
    /// When it makes no sense, meets another revision than expected, or cannot be kept.
    pub fn change(&self, change: &Change, by: &Authorship, expect: Expect) -> Result<Changed, ChangeError> {
        change.check(self.table(), &self.snapshot())?;
        let edit = |writer: &mut Writer| Ok(change.edited(&writer.head.document, self.table(), &self.snapshot()));
        self.make(change.kind(), by, expect, edit)
    }

    /// Restores the document as it was before a revision, the last one when none is named, with
    /// today's epochs.
    ///
    /// # Errors
    /// As [`Control::change`]; also when there is no such revision, or when it would send traffic to
    /// the candidate that a rollback took away from it and that is not `confirmed`.
    pub fn undo(
        &self,
        revision: Option<u64>,
        confirmed: bool,
        by: &Authorship,
        expect: Expect,
    ) -> Result<Changed, ChangeError> {
        self.make(Kind::Undo, by, expect, |writer| self.text_before(writer, revision, confirmed))
    }

    fn make(
        &self,
        kind: Kind,
        by: &Authorship,
        expect: Expect,
        text: impl Fn(&mut Writer) -> Result<String, ChangeError>,
    ) -> Result<Changed, ChangeError> {
        let outcome = self.make_from_last(kind, by, expect, text);
        match &outcome {
            Ok(changed) if !changed.changed => {}
            Ok(changed) => tracing::info!(
                %kind, revision = changed.revision, actor = %by.actor, reason = %by.reason,
                changes = %Difference::list(&changed.differences), "rollout changed"
            ),
            Err(_) => self.metrics.refused(),
        }
        outcome
    }

    fn make_from_last(
        &self,
        kind: Kind,
        by: &Authorship,
        expect: Expect,
        text: impl Fn(&mut Writer) -> Result<String, ChangeError>,
    ) -> Result<Changed, ChangeError> {
        let mut writer = self.writer();
        self.take_in_edit(&mut writer)?;
        // Asking for something else is how an operator ends a rollback, so the log has that first.
        self.keep_pending(&mut writer)?;
        for _ in 0..ATTEMPTS {
            self.check_expected(&mut writer, expect)?;
            let text = text(&mut writer)?;
            match self.make_once(&mut writer, kind, by, text) {
                Err(ChangeError::Store(StoreError::Conflict)) => self.catch_up(&mut writer)?,
                outcome => return outcome,
            }
        }
        Err(StoreError::Conflict.into())
    }

    fn check_expected(&self, writer: &mut Writer, expect: Expect) -> Result<(), ChangeError> {
        let Expect::Revision(expected) = expect else { return Ok(()) };
        if expected > writer.head.revision {
            // Another gateway has told it before this one has heard of it.
            self.catch_up(writer)?;
        }
        let current = writer.head.revision;
        if expected == current {
            return Ok(());
        }
        let since = if expected < current { writer.store.since(expected)? } else { Vec::new() };
        let since = since.into_iter().map(|revision| revision.entry).collect();
        Err(ChangeError::Conflict { expected, current, since })
    }

    fn make_once(
        &self,
        writer: &mut Writer,
        kind: Kind,
        by: &Authorship,
        text: String,
    ) -> Result<Changed, ChangeError> {
        let before = self.snapshot().clone();
        if text == writer.head.document {
            let (revision, hash) = (writer.head.revision, writer.head.hash.clone());
            let after = before.clone();
            return Ok(Changed { revision, hash, changed: false, differences: Vec::new(), before, after });
        }
        let parsed = match kind {
            // The one change that gives rows another owner; it is made from the running state.
            Kind::Slice => self.live.parse_known(&self.document_name(), &text),
            _ => self.live.parse(&self.document_name(), &text),
        };
        let document = parsed.map_err(|problems| match kind {
            Kind::Apply => ChangeError::InvalidDocument(problems),
            _ => ChangeError::BrokenDocument(problems),
        })?;
        let entry = self.append(writer, Draft::new(text, document, kind, by))?;
        let after = self.snapshot().clone();
        let (revision, hash, differences) = (entry.revision, entry.hash, entry.changes);
        Ok(Changed { revision, hash, changed: true, differences, before, after })
    }

    /// Appends a revision to the store and puts it in force.
    pub(super) fn append(&self, writer: &mut Writer, draft: Draft<'_>) -> Result<LogEntry, StoreError> {
        let Draft { text, document, epochs: mut least, kind, by, at } = draft;
        let mut epochs = self.live.epochs_after(&writer.head, document.as_ref());
        epochs.append(&mut least);
        let next = writer.head.next(text, epochs, kind, by, at);
        writer.store.append(&next)?;
        self.metrics.changed(kind);
        writer.head = Head::from(&next);
        self.live.settle(&next.entry);
        if let Some(document) = document {
            self.live.adopt(&document, &writer.head);
            self.accepted(writer);
        }
        self.keep_here(writer);
        Ok(next.entry)
    }

    /// Reads what others have appended, and puts it in force.
    pub(super) fn catch_up(&self, writer: &mut Writer) -> Result<(), StoreError> {
        loop {
            let newer = writer.store.since(writer.head.revision)?;
            if newer.is_empty() {
                return Ok(());
            }
            self.follow(writer, &newer)?;
        }
    }

    /// Puts revisions in force that others have appended. Only the last of them counts.
    pub(super) fn follow(&self, writer: &mut Writer, newer: &[Revision]) -> Result<(), StoreError> {
        let known = writer.head.revision;
        for next in newer.iter().filter(|next| next.entry.revision > known) {
            writer.head.is_followed_by(next).map_err(StoreError::Diverged)?;
            self.live.settle(&next.entry);
            writer.head = Head::from(next);
            tracing::info!(
                kind = %next.entry.kind, revision = next.entry.revision, actor = %next.entry.actor,
                reason = %next.entry.reason, changes = %Difference::list(&next.entry.changes), "rollout changed elsewhere"
            );
        }
        if writer.head.revision > known {
            self.adopt_head(writer);
            self.keep_here(writer);
        }
        Ok(())
    }

    /// Puts the last revision in force. It was checked by the gateway that made it, but perhaps
    /// against other routes.
    pub(super) fn adopt_head(&self, writer: &mut Writer) {
        let name = format!("revision {} of the rollout document", writer.head.revision);
        match self.live.parse_known(&name, &writer.head.document) {
            Ok(document) => {
                self.live.adopt(&document, &writer.head);
                self.accepted(writer);
            }
            Err(problems) => self.refuse(&problems.to_string()),
        }
    }

    /// Keeps on this machine what it would start from without the store.
    pub(super) fn keep_here(&self, writer: &mut Writer) {
        let pending = self.live.pending();
        self.metrics.pending(pending.len());
        if writer.store.follows_file() {
            return;
        }
        let Writer { store, head, .. } = writer;
        match store.keep_here(&head.document, head, &pending) {
            Ok(()) => {
                self.trouble.clear(About::Record);
            }
            Err(error) => {
                let problem = format!("the last good state is not kept on this machine: {}", chain(&error));
                if self.trouble.note(About::Record, &problem) {
                    tracing::error!(%problem, "a restart without the store would start from an older state");
                }
            }
        }
    }
}
