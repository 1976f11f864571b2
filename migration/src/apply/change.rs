//! Changes of rows, and what many of them come to. Pure.

use std::collections::HashMap;

use super::flow::TableFlow;
use crate::{
    lsn::Lsn,
    pgoutput::{Tuple, Value},
};

/// One change of one row, its columns in the order of the table's flow.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The table's place in the flow.
    pub(crate) table: usize,
    pub(crate) kind: ChangeKind,
    /// Where its transaction committed.
    pub(crate) commit_lsn: Lsn,
}

/// What happened to the row.
#[derive(Debug, Clone)]
pub(crate) enum ChangeKind {
    Insert {
        new: Tuple,
    },
    /// `old` has the columns of the replica identity at least, and is there when one of them changed
    /// or all are logged.
    Update {
        old: Option<Tuple>,
        new: Tuple,
    },
    Delete {
        old: Tuple,
    },
}

/// The values that tell a row apart; of a table without a key, all of them.
pub(crate) type Key = Vec<Value>;

/// The key of a row.
pub(crate) fn key_of(table: &TableFlow, tuple: &Tuple) -> Key {
    if table.key.is_empty() {
        return tuple.clone();
    }
    table.key.iter().map(|part| tuple.get(part.column).cloned().unwrap_or(Value::Null)).collect()
}

impl Change {
    /// The key before the change and the key after it; one of them where the other is not there.
    pub(crate) fn keys(&self, table: &TableFlow) -> (Option<Key>, Option<Key>) {
        match &self.kind {
            ChangeKind::Insert { new } => (None, Some(key_of(table, new))),
            ChangeKind::Delete { old } => (Some(key_of(table, old)), None),
            ChangeKind::Update { old, new } => {
                let after = key_of(table, new);
                (Some(old.as_ref().map_or_else(|| after.clone(), |old| key_of(table, old))), Some(after))
            }
        }
    }

    /// How many bytes it takes, about.
    pub(crate) fn size(&self) -> usize {
        let size = |tuple: &Tuple| tuple.iter().map(Value::size).sum::<usize>();
        64 + match &self.kind {
            ChangeKind::Insert { new } => size(new),
            ChangeKind::Update { old, new } => old.as_ref().map_or(0, size) + size(new),
            ChangeKind::Delete { old } => size(old),
        }
    }
}

/// What the changes of one row come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Net {
    /// The row is there, and has these values.
    Whole(Tuple),
    /// The row is there; values that are not in here stay as they are.
    Partial(Tuple),
    Gone,
}

/// What the changes of one table come to, row by row.
#[derive(Debug, Default)]
pub(crate) struct NetRows {
    rows: HashMap<Key, Net>,
}

impl NetRows {
    /// Adds a change of a table with a key.
    pub(crate) fn add(&mut self, table: &TableFlow, change: &Change) {
        match &change.kind {
            ChangeKind::Insert { new } => self.put(key_of(table, new), new.clone()),
            ChangeKind::Delete { old } => {
                self.rows.insert(key_of(table, old), Net::Gone);
            }
            ChangeKind::Update { old, new } => {
                let after = key_of(table, new);
                let before = old.as_ref().map(|old| key_of(table, old)).filter(|before| *before != after);
                let mut new = new.clone();
                if let Some(before) = before {
                    // What is known of the row under its old key is known of it under the new one.
                    if let Some(Net::Whole(known) | Net::Partial(known)) = self.rows.insert(before, Net::Gone) {
                        complete(&mut new, &known);
                    }
                }
                self.put(after, new);
            }
        }
    }

    fn put(&mut self, key: Key, mut new: Tuple) {
        if let Some(Net::Whole(known) | Net::Partial(known)) = self.rows.get(&key) {
            complete(&mut new, known);
        }
        let is_whole = !new.iter().any(Value::is_unchanged);
        self.rows.insert(key, if is_whole { Net::Whole(new) } else { Net::Partial(new) });
    }

    pub(crate) fn into_rows(self) -> HashMap<Key, Net> {
        self.rows
    }
}

/// Takes what a change has not touched from what was known before. What is not touched is large, so
/// it was not null: a null says only that it is not known.
pub(crate) fn complete(new: &mut Tuple, known: &Tuple) {
    for (value, known) in new.iter_mut().zip(known) {
        if value.is_unchanged() && matches!(known, Value::Text(_)) {
            *value = known.clone();
        }
    }
}
