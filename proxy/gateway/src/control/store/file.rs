//! The store of one machine: the document in a file that people edit, and the change log beside it.
//!
//! A change is written in three steps, of which each is on disk before the next begins: the new
//! document beside the old one, the log's entry, the new document in place of the old. A crash after
//! the second is made good by whoever takes the lock next; a crash before it has changed nothing.

use std::path::{Path, PathBuf};

use judgement::Renewal;

use super::{
    DocumentFile, FileError, HistoryQuery, Look, Pending, Store, StoreError,
    change_log::{ChangeLog, LockedLog},
    leases,
};
use crate::control::chain::{Head, LogEntry, Revision, sha256};

/// See the module.
#[derive(Debug)]
pub(in crate::control) struct FileStore {
    file: DocumentFile,
    log: ChangeLog,
    leases: DocumentFile,
}

impl FileStore {
    /// The document in `file`, its changes in `log`.
    pub(in crate::control) fn new(file: PathBuf, log: PathBuf) -> Self {
        let leases = DocumentFile::new(file.with_extension("leases.json"));
        Self { file: DocumentFile::new(file), log: ChangeLog::new(log), leases }
    }

    /// Reads something that no other process may come between; `None` when there is no log.
    fn read<T>(
        &mut self,
        act: impl FnOnce(&DocumentFile, &mut LockedLog<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if self.log.is_there() { self.locked(act).map(Some) } else { Ok(None) }
    }

    /// Does something that no other process may come between.
    fn locked<T>(
        &mut self,
        act: impl FnOnce(&DocumentFile, &mut LockedLog<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut log = self.log.lock()?;
        finish_interrupted(&self.file, &mut log)?;
        act(&self.file, &mut log)
    }
}

/// Ends the append of a process that died in it.
fn finish_interrupted(file: &DocumentFile, log: &mut LockedLog<'_>) -> Result<(), StoreError> {
    let Some(prepared) = file.prepared()? else { return Ok(()) };
    if log.ends_with_document(&sha256(prepared.as_bytes()))? {
        tracing::warn!(file = file.name(), "a change was logged but not in the file yet; now it is");
        file.publish()?;
    } else {
        file.discard();
    }
    Ok(())
}

impl Store for FileStore {
    fn document_file(&self) -> &DocumentFile {
        &self.file
    }

    fn follows_file(&self) -> bool {
        true
    }

    fn since(&mut self, revision: u64) -> Result<Vec<Revision>, StoreError> {
        Ok(self.read(|_, log| log.since(revision))?.unwrap_or_default())
    }

    fn look(&mut self, revision: u64) -> Result<Look, StoreError> {
        match self.read(|file, log| Ok(Look { newer: log.since(revision)?, text: file.read()? }))? {
            Some(look) => Ok(look),
            None => Ok(Look { newer: Vec::new(), text: self.file.read()? }),
        }
    }

    fn append(&mut self, next: &Revision) -> Result<(), StoreError> {
        self.locked(|file, log| {
            // What a person has saved is not written again: they may be at the next edit already.
            if file.read().is_ok_and(|text| text.as_ref() == Some(&next.document)) {
                return log.append(next).map(drop);
            }
            file.prepare(&next.document)?;
            let before = log.append(next).inspect_err(|_| file.discard())?;
            file.publish().map_err(|error| {
                log.take_back(before);
                file.discard();
                error.into()
            })
        })
    }

    fn find(&mut self, revision: u64) -> Result<Option<Revision>, StoreError> {
        let found = self.read(|_, log| {
            let mut found = None;
            log.rewind();
            log.each(|next| {
                if next.entry.revision == revision {
                    found = Some(next);
                }
                found.is_none()
            })?;
            Ok(found)
        })?;
        Ok(found.flatten())
    }

    fn recent(&mut self, query: &HistoryQuery) -> Result<Vec<LogEntry>, StoreError> {
        let found = self.read(|_, log| {
            let mut found = Vec::new();
            log.rewind();
            log.each(|next| {
                if query.takes(&next.entry) {
                    found.push(next.entry);
                }
                true
            })?;
            found.reverse();
            found.truncate(query.limit);
            Ok(found)
        })?;
        Ok(found.unwrap_or_default())
    }

    fn lease(&mut self, route: &str) -> Result<Option<Renewal>, StoreError> {
        // Replaced whole, so it needs no lock to be read.
        Ok(leases::read(&self.leases)?.remove(route))
    }

    fn renew_lease(&mut self, route: &str, before: Option<Renewal>, next: Renewal) -> Result<bool, StoreError> {
        let file = DocumentFile::new(self.leases.path().to_owned());
        self.locked(|_, _| {
            let mut all = leases::read(&file)?;
            if all.get(route).copied() != before {
                return Ok(false);
            }
            all.insert(route.to_owned(), next);
            leases::write(&file, &all)?;
            Ok(true)
        })
    }

    fn drop_lease(&mut self, route: &str) -> Result<(), StoreError> {
        let file = DocumentFile::new(self.leases.path().to_owned());
        self.locked(|_, _| {
            let mut all = leases::read(&file)?;
            if all.remove(route).is_some() {
                leases::write(&file, &all)?;
            }
            Ok(())
        })
    }

    fn keep_here(&mut self, document: &str, _head: &Head, _pending: &[Pending]) -> Result<(), FileError> {
        if self.file.read().is_ok_and(|text| text.as_deref() == Some(document)) {
            return Ok(());
        }
        self.file.write(document)
    }
}

/// Where the log is unless the settings say otherwise: beside the document, named after it.
pub(in crate::control) fn log_beside(document: &Path) -> PathBuf {
    document.with_extension("log.jsonl")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use chrono::DateTime;

    use super::*;
    use crate::control::{Authorship, change::Kind};

    struct Place {
        folder: tempfile::TempDir,
        store: FileStore,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let store = store(folder.path());
            Self { folder, store }
        }

        fn file(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.file(name)).unwrap_or_default()
        }
    }

    fn store(folder: &Path) -> FileStore {
        let document = folder.join("rollout.toml");
        let log = log_beside(&document);
        FileStore::new(document, log)
    }

    fn next(head: &Head, document: &str) -> Revision {
        let by = Authorship::new("ada", "", "operate");
        head.next(document.to_owned(), BTreeMap::new(), Kind::Apply, &by, DateTime::UNIX_EPOCH)
    }

    #[test]
    fn what_was_appended_is_read_back_also_by_another_process() {
        let mut place = Place::new();
        let mut head = Head::default();
        for number in 1..=5 {
            let revision = next(&head, &format!("# {number}\n"));
            place.store.append(&revision).expect("appended");
            head = Head::from(&revision);
        }
        assert_eq!(place.text("rollout.toml"), "# 5\n");
        let mut other = store(place.folder.path());
        assert_eq!(other.since(0).expect("read").len(), 5);
        assert_eq!(other.since(3).expect("read").len(), 2);
        assert_eq!(other.since(5).expect("read").len(), 0);
        assert_eq!(other.find(2).expect("read").map(|found| found.document), Some("# 2\n".to_owned()));
        assert!(matches!(other.append(&next(&Head::default(), "# late\n")), Err(StoreError::Conflict)));
        assert_eq!(place.text("rollout.toml"), "# 5\n");
        let latest = other.recent(&HistoryQuery { limit: 2, before: Some(5), route: None }).expect("read");
        assert_eq!(latest.iter().map(|entry| entry.revision).collect::<Vec<_>>(), [4, 3]);
        other.append(&next(&head, "# 6\n")).expect("appended");
        assert_eq!(place.store.since(5).expect("read").len(), 1, "the first process sees it");
    }

    #[test]
    fn a_torn_last_line_is_no_revision_and_is_cut_off_by_the_next() {
        let mut place = Place::new();
        let first = next(&Head::default(), "# 1\n");
        place.store.append(&first).expect("appended");
        let whole = place.text("rollout.log.jsonl");
        for torn in [&whole[..1], &whole[..whole.len() / 2], &whole[..whole.len() - 1]] {
            fs::write(place.file("rollout.log.jsonl"), format!("{whole}{torn}")).expect("written");
            let mut again = store(place.folder.path());
            assert_eq!(again.since(0).expect("read").len(), 1);
        }
        place.store.append(&next(&Head::from(&first), "# 2\n")).expect("appended");
        assert_eq!(store(place.folder.path()).since(0).expect("read").len(), 2);
    }

    #[test]
    fn an_append_that_died_halfway_is_finished_or_undone() {
        let mut place = Place::new();
        let first = next(&Head::default(), "# 1\n");
        place.store.append(&first).expect("appended");
        // Died before the entry was logged.
        place.store.file.prepare("# 2\n").expect("prepared");
        let look = store(place.folder.path()).look(0).expect("read");
        assert_eq!((look.newer.len(), look.text.as_deref()), (1, Some("# 1\n")));
        // Died after it.
        let second = next(&Head::from(&first), "# 2\n");
        place.store.file.prepare("# 2\n").expect("prepared");
        place.store.log.lock().expect("locked").append(&second).expect("logged");
        let look = store(place.folder.path()).look(0).expect("read");
        assert_eq!((look.newer.len(), look.text.as_deref()), (2, Some("# 2\n")));
    }

    #[test]
    fn a_line_that_is_no_entry_is_named_and_a_log_that_was_moved_away_goes_on() {
        let mut place = Place::new();
        let first = next(&Head::default(), "# 1\n");
        place.store.append(&first).expect("appended");
        let second = next(&Head::from(&first), "# 2\n");
        let whole = place.text("rollout.log.jsonl");
        fs::write(place.file("rollout.log.jsonl"), format!("{whole}{{}}\n")).expect("written");
        let error = place.store.append(&second).expect_err("not an entry");
        assert!(matches!(error, StoreError::BrokenLog { line: 2, .. }), "{error}");
        fs::remove_file(place.file("rollout.log.jsonl")).expect("removed");
        place.store.append(&second).expect("appended");
        assert_eq!(store(place.folder.path()).since(0).expect("read")[0].entry.revision, 2);
    }
}
