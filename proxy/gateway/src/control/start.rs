//! The state a gateway starts with: the store's last revision, or else the last good one on its disk.

use std::sync::{Arc, Mutex};

use layered_config::Problems;

use super::{
    About, Control, FileError, Head, Kind, StoreError, Writer, chain,
    live::Live,
    store::{FileStore, PostgresStore, Store, log_beside},
    trouble::Trouble,
};
use crate::{
    config::{RolloutConfig, StoreKind},
    limit::Policies,
    metrics::Metrics,
    route_table::RouteTable,
};

/// Why the state could not be made at the start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The document has problems.
    #[error(transparent)]
    BrokenDocument(#[from] Problems),
    /// The document could not be read.
    #[error("the rollout document could not be read")]
    File(#[source] FileError),
    /// The system refused what the store needs.
    #[error("the system refused what the rollout's store needs")]
    System(#[source] std::io::Error),
}

impl StartError {
    /// The problems in the files, if that is what it is.
    #[must_use]
    pub fn problems(&self) -> Option<&Problems> {
        match self {
            Self::BrokenDocument(problems) => Some(problems),
            Self::File(_) | Self::System(_) => None,
        }
    }
}

impl Control {
    /// Starts from what the store has. A store that is away is no reason not to start: what was last
    /// in force is on disk. Without any document everything is on legacy.
    ///
    /// # Errors
    /// When there is a document, but neither it nor one before it can be put in force.
    pub fn start(
        config: &RolloutConfig,
        table: Arc<RouteTable>,
        policies: Arc<Policies>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let control_metrics = metrics.control.clone();
        let start = |store: Box<dyn Store>| Self {
            live: Live::new(table, policies, metrics),
            writer: Mutex::new(Writer { store, head: Head::default(), refused: None, unrecorded: None }),
            trouble: Trouble::default(),
            metrics: control_metrics,
            kind: config.store,
            path: config.file.clone(),
        };
        match config.store {
            StoreKind::File => {
                let log = config.log.clone().unwrap_or_else(|| log_beside(&config.file));
                let control = start(Box::new(FileStore::new(config.file.clone(), log)));
                control.start_from_file()?;
                Ok(control)
            }
            StoreKind::Postgres => {
                let store = PostgresStore::new(config.postgres.clone(), config.file.clone());
                let mut store = store.map_err(StartError::System)?;
                let last_good = store.last_good().map_err(StartError::File)?;
                let control = start(Box::new(store));
                control.start_from_shared(last_good)?;
                Ok(control)
            }
        }
    }

    fn start_from_file(&self) -> Result<(), StartError> {
        let mut writer = self.writer();
        match last_revision(&mut *writer.store) {
            Ok(head) => {
                writer.head = head;
                self.metrics.store_answered();
            }
            Err(error) => self.not_recorded(&error),
        }
        let text = writer.store.document_file().read().map_err(StartError::File)?;
        let known = self.adopt_known(&mut writer);
        match text {
            None if writer.head.document.is_empty() => return Ok(()),
            None => self.refuse("the file is gone; put it back"),
            Some(text) if text == writer.head.document && writer.head.revision > 0 => {}
            Some(text) => match self.live.parse(&self.document_name(), &text) {
                Ok(document) => {
                    let kind = if writer.head.revision == 0 { Kind::Import } else { Kind::Edit };
                    self.record(&mut writer, text, &document, kind, "found at the start");
                    return Ok(());
                }
                Err(problems) if writer.head.revision == 0 || known.is_err() => return Err(problems.into()),
                Err(problems) => self.refuse(&problems.to_string()),
            },
        }
        Ok(known?)
    }

    fn start_from_shared(&self, last_good: super::store::LastGood) -> Result<(), StartError> {
        let mut writer = self.writer();
        writer.head = last_good.head;
        let known = self.adopt_known(&mut writer);
        self.live.resume(last_good.pending);
        let found = self.catch_up(&mut writer).and_then(|()| self.import(&mut writer));
        match found {
            Ok(()) => self.store_answered(),
            Err(error) => self.store_lost(&error),
        }
        if writer.head.revision == 0 {
            return self.start_from_copy();
        }
        // What the store had may have put right what was on disk.
        if self.trouble.is_noted(About::Document) || self.snapshot().revision() != writer.head.revision {
            known?;
        }
        Ok(())
    }

    /// Puts the known revision in force, if there is one.
    fn adopt_known(&self, writer: &mut Writer) -> Result<(), Problems> {
        if writer.head.revision > 0 {
            let document = self.live.parse_known(&self.document_name(), &writer.head.document)?;
            self.live.adopt(&document, &writer.head);
        }
        Ok(())
    }

    /// The store has not been reached, and this machine has seen no revision: the file is all there is.
    fn start_from_copy(&self) -> Result<(), StartError> {
        if let Some(text) = super::read_document(&self.path).map_err(StartError::File)? {
            let document = self.live.parse(&self.document_name(), &text)?;
            self.live.adopt(&document, &Head::default());
        }
        Ok(())
    }

    /// Makes the file's document the first revision of a shared store that has none.
    pub(super) fn import(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if writer.head.revision > 0 {
            return Ok(());
        }
        let text = writer.store.document_file().read()?.filter(|text| !text.trim().is_empty());
        let Some(text) = text else { return Ok(()) };
        match self.live.parse(&self.document_name(), &text) {
            Ok(document) => self.record(writer, text, &document, Kind::Import, "the first document of the store"),
            Err(problems) => self.refuse(&problems.to_string()),
        }
        // Another gateway may have been first.
        if writer.head.revision == 0 { self.catch_up(writer) } else { Ok(()) }
    }
}

fn last_revision(store: &mut dyn Store) -> Result<Head, StoreError> {
    let mut head = Head::default();
    loop {
        match store.since(head.revision)?.last() {
            Some(last) => head = Head::from(last),
            None => return Ok(head),
        }
    }
}

impl Control {
    /// The shared store has answered.
    pub(super) fn store_answered(&self) {
        self.metrics.store_answered();
        if self.trouble.clear(About::Store) {
            tracing::info!("the rollout store answers again");
        }
    }

    /// The shared store has not answered, or not as it should.
    pub(super) fn store_lost(&self, error: &StoreError) {
        self.metrics.store_lost();
        let problem = format!("the rollout store is not followed: {}", chain(error));
        if self.trouble.note(About::Store, &problem) {
            tracing::error!(%problem, "the last good state stays in force");
        }
    }
}
