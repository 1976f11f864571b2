//! Makes events for the applier out of the plugin's messages: transactions, their changes by the
//! slice's tables, and nothing that came from the opposite direction. Streamed transactions wait here
//! until they commit. No I/O but the spool's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::{
    StreamError,
    ledger::Signatures,
    slot::is_origin_of,
    spool::{Replay, Spool},
};
use crate::{
    apply::{Change, ChangeKind, Event, Flow, Item, Position, complete},
    identifier::{Identifier, QualifiedName},
    lsn::Lsn,
    pgoutput::{Message, Relation, Tuple, Value},
};

/// Turns messages into events.
pub(crate) struct Assembly {
    flow: Arc<Flow>,
    /// The tables' shapes that were accepted.
    signatures: Signatures,
    /// The beginning of the origins under which the opposite direction writes.
    opposite: String,
    relations: HashMap<u32, Known>,
    open: Option<Open>,
    /// The streamed transaction whose part is being sent.
    part: Option<u32>,
    spools: HashMap<u32, Spool>,
    spool_bytes: usize,
}

/// The transaction that is being sent.
struct Open {
    commit_lsn: Lsn,
    /// It came from the opposite direction.
    is_echo: bool,
}

/// What a relation is to the slice.
enum Known {
    /// None of its tables.
    Other,
    /// For each table that is made from it, where its columns are in the messages.
    Tables(Vec<(usize, Vec<Option<usize>>)>),
    /// It does not look as it did when it was accepted.
    Changed(String),
}

impl Assembly {
    pub(crate) fn new(flow: Arc<Flow>, signatures: Signatures, opposite: String, spool_bytes: usize) -> Self {
        Self {
            flow,
            signatures,
            opposite,
            relations: HashMap::new(),
            open: None,
            part: None,
            spools: HashMap::new(),
            spool_bytes,
        }
    }

    /// Whether no transaction is being sent.
    pub(crate) const fn is_idle(&self) -> bool {
        self.open.is_none() && self.part.is_none()
    }

    /// Takes one message. Answers a streamed transaction that has committed, which is to be replayed
    /// by [`Assembly::replayed`].
    pub(crate) fn take(&mut self, bytes: Bytes, events: &mut Vec<Event>) -> Result<Option<Replay>, StreamError> {
        let (xid, message) = Message::decode(bytes.clone(), self.part.is_some())?;
        match (self.part, message) {
            (_, Message::StreamStart { xid }) => self.part = Some(xid),
            (_, Message::StreamStop) => self.part = None,
            (_, Message::StreamAbort { xid, subxid }) => {
                if xid == subxid {
                    self.spools.remove(&xid);
                } else if let Some(spool) = self.spools.get_mut(&xid) {
                    spool.abort(subxid);
                }
            }
            (_, Message::StreamCommit { xid, commit_lsn, end_lsn, commit_at }) => {
                let position = Position { lsn: end_lsn, committed_at: Some(commit_at) };
                let spool = self.spools.remove(&xid).unwrap_or_default();
                self.open = Some(Open { commit_lsn, is_echo: false });
                return Ok(Some(spool.replay(position).map_err(spooling())?));
            }
            (Some(top), message) => {
                if let Message::Relation(relation) = message {
                    // Also when its subtransaction is taken back: the server does not send it again.
                    self.learn(&relation);
                }
                let spool_bytes = self.spool_bytes;
                let spool = self.spools.entry(top).or_default();
                spool.push(xid.unwrap_or(top), bytes, spool_bytes).map_err(spooling())?;
            }
            (None, message) => self.plain(message, events),
        }
        Ok(None)
    }

    /// Takes a message of a transaction that was spooled.
    pub(crate) fn replayed(&mut self, bytes: Bytes, events: &mut Vec<Event>) -> Result<(), StreamError> {
        let (_, message) = Message::decode(bytes, true)?;
        self.plain(message, events);
        Ok(())
    }

    /// Ends a transaction that was spooled.
    pub(crate) fn committed(&mut self, position: Position, events: &mut Vec<Event>) {
        // An echo comes with the time of its origin (`ReorderBufferCommit`), which for a session that sets none for each
        // of its transactions is that of its first commit. A stream would seem later and later by it.
        let is_echo = self.open.take().is_some_and(|open| open.is_echo);
        let committed_at = position.committed_at.filter(|_| !is_echo);
        events.push(Event::Commit(Position { committed_at, ..position }));
    }

    fn plain(&mut self, message: Message, events: &mut Vec<Event>) {
        match message {
            Message::Begin { commit_lsn, .. } => self.open = Some(Open { commit_lsn, is_echo: false }),
            Message::Commit { end_lsn, commit_at } => {
                self.committed(Position { lsn: end_lsn, committed_at: Some(commit_at) }, events);
            }
            Message::Origin { name } => {
                if let Some(open) = &mut self.open {
                    open.is_echo = is_origin_of(&name, &self.opposite);
                }
            }
            Message::Relation(relation) => self.learn(&relation),
            Message::Insert { relation, new } => {
                self.change(relation, events, |columns| ChangeKind::Insert { new: ordered(&new, columns) });
            }
            Message::Update { relation, old, new } => self.change(relation, events, |columns| {
                let old = old.as_ref().map(|old| ordered(old.tuple(), columns));
                let mut new = ordered(&new, columns);
                if let Some(old) = &old {
                    complete(&mut new, old);
                }
                ChangeKind::Update { old, new }
            }),
            Message::Delete { relation, old } => {
                self.change(relation, events, |columns| ChangeKind::Delete { old: ordered(old.tuple(), columns) });
            }
            Message::Truncate(truncated) => {
                let Some(open) = self.open.as_ref().filter(|open| !open.is_echo) else { return };
                let tables: BTreeSet<usize> = truncated
                    .relations
                    .iter()
                    .filter_map(|relation| match self.relations.get(relation) {
                        Some(Known::Tables(tables)) => Some(tables.iter().map(|(table, _)| *table)),
                        _ => None,
                    })
                    .flatten()
                    .collect();
                if !tables.is_empty() {
                    let (tables, commit_lsn) = (tables.into_iter().collect(), open.commit_lsn);
                    events.push(Event::Item(Item::Truncate { tables, commit_lsn }));
                }
            }
            // A mark is a transaction: its commit is what is waited for.
            Message::Emitted { .. }
            | Message::Type
            | Message::StreamStart { .. }
            | Message::StreamStop
            | Message::StreamCommit { .. }
            | Message::StreamAbort { .. } => {}
        }
    }

    fn change(&self, relation: u32, events: &mut Vec<Event>, kind: impl Fn(&[Option<usize>]) -> ChangeKind) {
        let Some(open) = self.open.as_ref().filter(|open| !open.is_echo) else { return };
        match self.relations.get(&relation) {
            Some(Known::Tables(tables)) => {
                for (table, columns) in tables {
                    let change = Change { table: *table, kind: kind(columns), commit_lsn: open.commit_lsn };
                    events.push(Event::Item(Item::Change(change)));
                }
            }
            Some(Known::Changed(reason)) => events.push(Event::Stop(reason.clone())),
            Some(Known::Other) | None => {}
        }
    }

    fn learn(&mut self, relation: &Relation) {
        let tables = self.flow.by_name().remove(&(relation.schema.as_str(), relation.name.as_str()));
        let known = match tables {
            None => Known::Other,
            Some(tables) => match self.difference(relation) {
                Some(difference) => Known::Changed(difference),
                None => {
                    let places: BTreeMap<&str, usize> = relation
                        .columns
                        .iter()
                        .enumerate()
                        .map(|(place, column)| (column.name.as_str(), place))
                        .collect();
                    let columns = |table: &usize| {
                        let columns = self.flow.tables[*table].columns.iter();
                        columns.map(|column| places.get(column.name.as_str()).copied()).collect()
                    };
                    Known::Tables(tables.iter().map(|table| (*table, columns(table))).collect())
                }
            },
        };
        self.relations.insert(relation.id, known);
    }

    /// In what a table is not as it was accepted.
    fn difference(&self, relation: &Relation) -> Option<String> {
        let name = Identifier::new(relation.schema.as_str())
            .ok()
            .zip(Identifier::new(relation.name.as_str()).ok())
            .map(|(schema, name)| QualifiedName::new(&schema, &name).quoted())?;
        let accepted = self.signatures.get(&name)?;
        let as_sent: Vec<(&str, u32, i32)> =
            relation.columns.iter().map(|column| (column.name.as_str(), column.type_id, column.modifier)).collect();
        let same = accepted.iter().any(|signature| {
            signature
                .iter()
                .map(|column| (column.name.as_str(), column.type_id, column.modifier))
                .eq(as_sent.iter().copied())
        });
        if same {
            return None;
        }
        let before: Vec<String> = accepted
            .last()
            .map(|signature| signature.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect())
            .unwrap_or_default();
        let now: Vec<&str> = relation.columns.iter().map(|column| column.name.as_str()).collect();
        Some(format!(
            "the table {name} was changed while its changes flow: its columns were ({}), and are ({}). Nothing of the new \
             shape has been applied. Change the other side and the mapping accordingly, then go on with --accept-ddl",
            before.join(", "),
            now.join(", ")
        ))
    }
}

/// The values in the order of a table's columns; those that the message does not have are as unknown
/// as those that it leaves out.
fn ordered(tuple: &Tuple, columns: &[Option<usize>]) -> Tuple {
    columns.iter().map(|place| place.and_then(|place| tuple.get(place)).cloned().unwrap_or(Value::Unchanged)).collect()
}

fn spooling() -> impl FnOnce(std::io::Error) -> StreamError {
    |source| StreamError::Link {
        what: "keep a large transaction in a temporary file",
        source: crate::link::LinkError::Io(source),
    }
}
