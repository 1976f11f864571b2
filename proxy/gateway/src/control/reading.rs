//! Reading the document's file, which people edit with the file store and nobody should otherwise.

use std::path::PathBuf;

use super::{
    ATTEMPTS, About, Authorship, ChangeError, Control, FileError, Kind, StoreError, Writer, chain, store::Look,
    writing::Draft,
};
use crate::rollout::RolloutDocument;

/// Who writes the file of a shared store reads this.
const COPY: &str = "the file was edited, but it is a copy of the shared document and the edit is not in force; put it \
                    in force with `strangler apply FILE`, or remove the file to have the copy made anew";

impl Control {
    /// Reads the file if it is not as it was when it was last read or written, and puts it in force.
    pub fn reload(&self) {
        let mut writer = self.writer();
        if !writer.store.follows_file() {
            return self.check_copy(&mut writer);
        }
        if !self.live.pending().is_empty() {
            self.keep_late(&mut writer);
        }
        if writer.store.document_file().is_being_written() {
            // Whoever writes it is noticed again, or seen by the next look.
            return;
        }
        let known = writer.head.revision;
        let text = match writer.store.look(known) {
            Ok(Look { newer, text }) => {
                self.metrics.store_answered();
                match self.follow(&mut writer, &newer) {
                    Ok(()) if self.live.pending().is_empty() && writer.unrecorded.is_none() => {
                        self.trouble.clear(About::Record);
                    }
                    Ok(()) => {}
                    Err(error) => self.not_recorded(&error),
                }
                Ok(text)
            }
            // Traffic follows the document also where the log cannot be read or written.
            Err(error) => {
                self.not_recorded(&error);
                writer.store.document_file().read()
            }
        };
        match text {
            Err(error) => self.refuse(&chain(&error)),
            Ok(None) if writer.head.document.is_empty() && writer.unrecorded.is_none() => {}
            Ok(None) => self.refuse("the file is gone; put it back"),
            Ok(Some(text)) => self.read(&mut writer, text),
        }
    }

    fn read(&self, writer: &mut Writer, text: String) {
        if text == writer.head.document {
            let reverted = writer.unrecorded.take().is_some();
            if reverted || self.trouble.is_noted(About::Document) {
                self.adopt_head(writer);
            }
            return;
        }
        if writer.refused.as_ref() == Some(&text) {
            return;
        }
        match self.live.parse(&self.document_name(), &text) {
            Err(problems) => {
                self.refuse(&problems.to_string());
                writer.refused = Some(text);
            }
            Ok(document) => self.record(writer, text, &document, Kind::Edit, "the file was saved"),
        }
    }

    /// Puts an edited document in force and into the log; in force also when the log fails.
    pub(super) fn record(
        &self,
        writer: &mut Writer,
        text: String,
        document: &RolloutDocument,
        kind: Kind,
        reason: &str,
    ) {
        let by = Authorship::of_the_file(reason);
        match self.append(writer, Draft::new(text.clone(), document.clone(), kind, &by)) {
            Ok(entry) => {
                writer.unrecorded = None;
                self.trouble.clear(About::Record);
                tracing::info!(revision = entry.revision, "rollout document in force");
            }
            // Another process of this machine has read the same edit; the next look finds its entry.
            Err(StoreError::Conflict) => {}
            Err(error) => {
                if writer.unrecorded.as_ref() != Some(&text) {
                    self.live.adopt(document, &writer.head);
                    self.accepted(writer);
                    tracing::info!("rollout document in force, but not in the change log");
                    writer.unrecorded = Some(text);
                }
                self.not_recorded(&error);
            }
        }
    }

    /// Takes in an edit before something else is changed.
    pub(super) fn take_in_edit(&self, writer: &mut Writer) -> Result<(), ChangeError> {
        if !writer.store.follows_file() {
            return Ok(());
        }
        for _ in 0..ATTEMPTS {
            let known = writer.head.revision;
            let Look { newer, text } = writer.store.look(known)?;
            self.follow(writer, &newer)?;
            let Some(text) = text.filter(|text| *text != writer.head.document) else { return Ok(()) };
            let document = self.live.parse(&self.document_name(), &text).map_err(ChangeError::BrokenDocument)?;
            let by = Authorship::of_the_file("the file was saved");
            match self.append(writer, Draft::new(text, document, Kind::Edit, &by)) {
                Err(StoreError::Conflict) => {}
                outcome => {
                    writer.unrecorded = None;
                    return Ok(outcome.map(drop)?);
                }
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// As [`Control::take_in_edit`], for a rollback, which nothing stops: a file that is no valid
    /// document is moved out of the way. Returns where to.
    pub(super) fn clear_the_file(&self, writer: &mut Writer) -> Result<Option<PathBuf>, StoreError> {
        match self.take_in_edit(writer) {
            Ok(()) => return Ok(None),
            Err(ChangeError::BrokenDocument(_)) => {}
            // Not UTF-8, for one; a file that cannot be read for other reasons cannot be moved either.
            Err(ChangeError::Store(StoreError::File(FileError::Read { .. }))) => {}
            Err(ChangeError::Store(error)) => return Err(error),
            // Of the others, an edit of the file is none.
            Err(_) => return Ok(None),
        }
        let aside = writer.store.document_file().set_aside()?;
        tracing::warn!(path = %aside.display(), "broken rollout document put aside");
        Ok(Some(aside))
    }

    /// The file of a shared store is a copy: one that is gone or old is made anew, and an edit is refused.
    fn check_copy(&self, writer: &mut Writer) {
        if writer.head.revision == 0 {
            // The store has not been reached yet; what is in force may be this very file.
            return;
        }
        let mut text = writer.store.document_file().read();
        if text.as_ref().is_ok_and(|text| text.is_none() || (*text != writer.refused && !is_head(text, writer))) {
            self.keep_here(writer);
            text = writer.store.document_file().read();
        }
        match text {
            Ok(text) if text.is_none() || is_head(&text, writer) => {
                writer.refused = None;
                if self.trouble.is_noted(About::Document) {
                    self.adopt_head(writer);
                }
            }
            Ok(text) if text == writer.refused => {}
            Ok(text) => {
                self.refuse(COPY);
                writer.refused = text;
            }
            Err(error) => self.refuse(&chain(&error)),
        }
    }

    pub(super) fn accepted(&self, writer: &mut Writer) {
        writer.refused = None;
        self.live.metrics().document_read(true);
        self.trouble.clear(About::Document);
    }

    pub(super) fn refuse(&self, problem: &str) {
        self.live.metrics().document_read(false);
        if self.trouble.note(About::Document, problem) {
            tracing::error!(%problem, "rollout document refused; the state before it stays in force");
        }
    }

    pub(super) fn not_recorded(&self, error: &StoreError) {
        let problem = format!("the change log does not have what is in force: {}", chain(error));
        if self.trouble.note(About::Record, &problem) {
            tracing::error!(%problem, "changes are not recorded");
        }
    }
}

fn is_head(text: &Option<String>, writer: &Writer) -> bool {
    text.as_ref() == Some(&writer.head.document)
}
