//! The chain of the change log: every entry names the hash of the one before it, so that nothing can
//! be altered, taken out, put in or moved without the chain breaking there.
//!
//! An entry's hash is the SHA-256 of these fields in this order, each as a netstring (its length in
//! bytes in decimal, a colon, its bytes, a comma), so that no two entries share a form:
//!
//! `strangler-rollout-1`, revision, time in microseconds since 1970, actor, authenticated as, reason,
//! kind, number of changes, for each change its key, its value before and its value after (empty
//! for none, `=` and the value otherwise), number of epochs, for each in the order of names its
//! route and its number, SHA-256 of the document, hash of the entry before. Numbers are decimal, hashes lower
//! case hexadecimal; the first entry's previous hash is 64 zeros.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Authorship, change::Kind, difference::Difference};

/// What the first entry names as the hash before it.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const FORM: &str = "strangler-rollout-1";

/// One change, as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its number; the first is 1.
    pub revision: u64,
    /// When it was made, to the microsecond.
    pub at: DateTime<Utc>,
    /// Who made it, in their words.
    pub actor: String,
    /// What they showed for it: the name of a token, `file` or `signal`.
    pub authenticated_as: String,
    /// Why, in their words.
    pub reason: String,
    /// What sort of act it was.
    pub kind: Kind,
    /// What it changed, and only that.
    pub changes: Vec<Difference>,
    /// Each route's epoch from then on.
    pub epochs: BTreeMap<String, u64>,
    /// SHA-256 of the document from then on.
    pub document_sha256: String,
    /// The hash of the entry before.
    pub previous_hash: String,
    /// The hash of this one.
    pub hash: String,
}

/// One change with the document it made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The log's entry.
    #[serde(flatten)]
    pub entry: LogEntry,
    /// The whole document from then on.
    pub document: String,
}

/// The last revision, as far as the next one depends on it. The default one is that of an empty log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number; 0 before the first.
    pub revision: u64,
    /// Its hash.
    pub hash: String,
    /// The document.
    pub document: String,
    /// Each route's epoch.
    pub epochs: BTreeMap<String, u64>,
}

impl Default for Head {
    fn default() -> Self {
        Self { revision: 0, hash: NO_HASH.to_owned(), document: String::new(), epochs: BTreeMap::new() }
    }
}

impl From<&Revision> for Head {
    fn from(revision: &Revision) -> Self {
        Self {
            revision: revision.entry.revision,
            hash: revision.entry.hash.clone(),
            document: revision.document.clone(),
            epochs: revision.entry.epochs.clone(),
        }
    }
}

impl Head {
    /// The revision after this one; `at` is exact to the microsecond, as the stores keep it.
    pub(super) fn next(
        &self,
        document: String,
        epochs: BTreeMap<String, u64>,
        kind: Kind,
        by: &Authorship,
        at: DateTime<Utc>,
    ) -> Revision {
        let changes = Difference::between((&self.document, &self.epochs), (&document, &epochs));
        let mut entry = LogEntry {
            revision: self.revision + 1,
            at,
            actor: by.actor.clone(),
            authenticated_as: by.authenticated_as.clone(),
            reason: by.reason.clone(),
            kind,
            changes,
            epochs,
            document_sha256: sha256(document.as_bytes()),
            previous_hash: self.hash.clone(),
            hash: String::new(),
        };
        entry.hash = entry.computed_hash();
        Revision { entry, document }
    }

    /// Checks that a revision follows this one.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn is_followed_by(&self, next: &Revision) -> Result<(), Break> {
        let entry = &next.entry;
        let broken = |fault| Err(Break { revision: entry.revision, fault });
        if entry.revision != self.revision + 1 {
            return broken(Fault::Place { expected: self.revision + 1 });
        }
        if entry.previous_hash != self.hash {
            return broken(Fault::Link);
        }
        if entry.hash != entry.computed_hash() {
            return broken(Fault::Entry);
        }
        if entry.document_sha256 != sha256(next.document.as_bytes()) {
            return broken(Fault::Document);
        }
        Ok(())
    }
}

impl LogEntry {
    /// Who made the change.
    pub(super) fn authorship(&self) -> Authorship {
        Authorship::new(&self.actor, &self.reason, &self.authenticated_as)
    }

    /// The hash of what the entry says; equal to `hash` while nobody has altered it.
    #[must_use]
    pub fn computed_hash(&self) -> String {
        let mut form = Form(Sha256::new());
        form.field(FORM);
        form.number(self.revision);
        form.field(&self.at.timestamp_micros().to_string());
        for text in [&self.actor, &self.authenticated_as, &self.reason] {
            form.field(text);
        }
        form.field(self.kind.as_str());
        form.number(self.changes.len() as u64);
        for change in &self.changes {
            form.field(&change.key);
            form.optional(change.before.as_deref());
            form.optional(change.after.as_deref());
        }
        form.number(self.epochs.len() as u64);
        for (route, epoch) in &self.epochs {
            form.field(route);
            form.number(*epoch);
        }
        form.field(&self.document_sha256);
        form.field(&self.previous_hash);
        hex::encode(form.0.finalize())
    }
}

/// The canonical form, hashed as it is written.
struct Form(Sha256);

impl Form {
    fn field(&mut self, text: &str) {
        self.0.update(text.len().to_string());
        self.0.update(b":");
        self.0.update(text.as_bytes());
        self.0.update(b",");
    }

    fn number(&mut self, number: u64) {
        self.field(&number.to_string());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.field(&text.map_or_else(String::new, |text| format!("={text}")));
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Where and how the chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the chain breaks at revision {revision}: {fault}")]
pub struct Break {
    /// The entry that does not fit.
    pub revision: u64,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Entries were taken out, put in or moved.
    #[error("revision {expected} should stand here")]
    Place {
        /// What should be there.
        expected: u64,
    },
    /// It names another predecessor than the one before it.
    #[error("it does not name the entry before it")]
    Link,
    /// A field was altered.
    #[error("what it says is not what was hashed")]
    Entry,
    /// The document was altered.
    #[error("its document is not the one that was hashed")]
    Document,
    /// The entry with a hash that was once seen is not there.
    #[error("no entry has the hash {0} that was given: the log was cut off or written anew")]
    Missing(String),
}

/// A chain that is being followed from its first entry.
#[derive(Debug, Default)]
pub struct Verification {
    head: Head,
    /// A hash that must occur, and whether it has.
    wanted: Option<(String, bool)>,
}

/// What a chain that holds together says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How many entries there are.
    pub revisions: u64,
    /// The hash of the last one; keep it elsewhere to find out later whether the log was cut off.
    pub head: String,
}

impl Verification {
    /// Also looks for this hash, of an entry that was once the last one.
    #[must_use]
    pub fn wanting(hash: Option<String>) -> Self {
        let wanted = hash.map(|hash| {
            let hash = hash.to_ascii_lowercase();
            let empty = hash == NO_HASH;
            (hash, empty)
        });
        Self { head: Head::default(), wanted }
    }

    /// Follows the chain by one entry.
    ///
    /// # Errors
    /// When it does not follow.
    pub fn follow(&mut self, next: &Revision) -> Result<(), Break> {
        self.head.is_followed_by(next)?;
        if let Some((hash, seen)) = &mut self.wanted {
            *seen |= *hash == next.entry.hash;
        }
        self.head = Head::from(next);
        Ok(())
    }

    /// The end of the chain is reached.
    ///
    /// # Errors
    /// When the hash that was looked for has not occurred.
    pub fn end(self) -> Result<Verified, Break> {
        match self.wanted {
            Some((hash, false)) => Err(Break { revision: self.head.revision, fault: Fault::Missing(hash) }),
            _ => Ok(Verified { revisions: self.head.revision, head: self.head.hash }),
        }
    }

    pub(super) fn reached(&self) -> u64 {
        self.head.revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: u64) -> Vec<Revision> {
        let mut head = Head::default();
        let by = Authorship::new("ada", "because", "operate");
        (1..=length)
            .map(|number| {
                let document = format!("[routes.invoke]\npercent = {number}\n");
                let epochs = BTreeMap::from([("invoke".to_owned(), 1)]);
                let at = DateTime::from_timestamp_micros(number.cast_signed()).expect("a time");
                let next = head.next(document, epochs, Kind::Weight, &by, at);
                head = Head::from(&next);
                next
            })
            .collect()
    }

    fn verify(chain: &[Revision], wanted: Option<&str>) -> Result<Verified, Break> {
        let mut verification = Verification::wanting(wanted.map(ToOwned::to_owned));
        chain.iter().try_for_each(|revision| verification.follow(revision))?;
        verification.end()
    }

    #[test]
    fn a_chain_as_it_was_written_verifies_also_after_a_trip_through_json() {
        let chain = chain(5);
        let json = serde_json::to_string(&chain).expect("plain values");
        let read: Vec<Revision> = serde_json::from_str(&json).expect("what was written");
        let verified = verify(&read, Some(&chain[2].entry.hash)).expect("untouched");
        assert_eq!(verified, Verified { revisions: 5, head: chain[4].entry.hash.clone() });
        assert_eq!(verify(&[], None), Ok(Verified { revisions: 0, head: NO_HASH.to_owned() }));
    }

    #[test]
    fn every_field_is_covered_by_the_hash() {
        let alter: [fn(&mut LogEntry); 12] = [
            |entry| entry.at += chrono::Duration::microseconds(1),
            |entry| entry.actor.push('x'),
            |entry| entry.authenticated_as.push('x'),
            |entry| entry.reason.clear(),
            |entry| entry.kind = Kind::Apply,
            |entry| entry.changes[0].key.push('x'),
            |entry| entry.changes[0].before = None,
            |entry| entry.changes[0].after = Some(String::new()),
            |entry| entry.changes.clear(),
            |entry| *entry.epochs.get_mut("invoke").expect("it is there") += 1,
            |entry| entry.document_sha256 = NO_HASH.to_owned(),
            // Moving a letter over the border between two fields.
            |entry| (entry.actor, entry.authenticated_as) = ("adaoper".to_owned(), "ate".to_owned()),
        ];
        for (number, alter) in alter.into_iter().enumerate() {
            let mut chain = chain(3);
            alter(&mut chain[1].entry);
            assert_eq!(verify(&chain, None), Err(Break { revision: 2, fault: Fault::Entry }), "alteration {number}");
        }
    }

    #[test]
    fn what_is_taken_out_moved_cut_off_or_replaced_is_found() {
        let whole = chain(4);
        let head = whole[3].entry.hash.clone();
        let mut removed = whole.clone();
        removed.remove(1);
        assert_eq!(verify(&removed, None), Err(Break { revision: 3, fault: Fault::Place { expected: 2 } }));
        let mut moved = whole.clone();
        moved.swap(1, 2);
        assert_eq!(verify(&moved, None), Err(Break { revision: 3, fault: Fault::Place { expected: 2 } }));
        assert!(verify(&whole[1..], None).is_err(), "the first entry is missing");
        assert!(verify(&whole[..3], None).is_ok(), "a chain that was cut off holds together");
        assert_eq!(
            verify(&whole[..3], Some(&head)),
            Err(Break { revision: 3, fault: Fault::Missing(head) }),
            "but not for who knows its last hash"
        );
        let mut document = whole.clone();
        document[2].document.push('#');
        assert_eq!(verify(&document, None), Err(Break { revision: 3, fault: Fault::Document }));
        // Whoever alters an entry and hashes it anew breaks the link from the next one.
        let mut hashed_anew = whole;
        hashed_anew[1].entry.actor.push('x');
        hashed_anew[1].entry.hash = hashed_anew[1].entry.computed_hash();
        assert_eq!(verify(&hashed_anew, None), Err(Break { revision: 3, fault: Fault::Link }));
    }

    #[test]
    fn the_form_is_stable() {
        let at = DateTime::from_timestamp_micros(1_700_000_000_000_001).expect("a time");
        let by = Authorship::new("ada", "because", "operate");
        let epochs = BTreeMap::from([("invoke".to_owned(), 2)]);
        let next = Head::default().next("[routes.invoke]\npercent = 5\n".to_owned(), epochs, Kind::Weight, &by, at);
        let form = "19:strangler-rollout-1,1:1,16:1700000000000001,3:ada,7:operate,7:because,6:weight,1:2,\
                    19:routes.invoke.epoch,2:=1,2:=2,21:routes.invoke.percent,2:=0,2:=5,1:1,6:invoke,1:2,";
        let tail = format!("64:{},64:{NO_HASH},", next.entry.document_sha256);
        assert_eq!(next.entry.hash, sha256(format!("{form}{tail}").as_bytes()));
    }
}
