//! One part of a table, and the two COPY statements that move it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::spelled::SpelledRows;
use crate::{
    identifier::Identifier,
    projection::BASE,
    slice::{KeyPart, KeyRange, TablePlan, TargetColumn, Unconverted},
};

/// Who makes the values that the mapping asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Converting {
    /// The source's server all of them.
    There,
    /// This program those that it makes for less.
    Here,
}

/// A part of a table that is copied whole or not at all.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) slice: String,
    pub(crate) table: Arc<TablePlan>,
    pub(crate) number: i32,
    pub(crate) range: KeyRange,
    /// Whether a value of the table was found that only the server can read; shared by its chunks.
    pub(crate) misspelled: Arc<AtomicBool>,
}

impl Chunk {
    /// Who converts, until somebody finds out that it must be the server.
    pub(crate) fn converting(&self) -> Converting {
        let here = self.table.spells_values() && !self.misspelled.load(Ordering::Relaxed);
        if here { Converting::Here } else { Converting::There }
    }

    /// From now on the server converts.
    pub(crate) fn found_misspelled(&self) {
        self.misspelled.store(true, Ordering::Relaxed);
    }

    /// What makes the rows that come the rows that are sent.
    pub(crate) fn spelled_rows(&self) -> SpelledRows {
        SpelledRows::new(self.written().map(|column| column.unconverted == Some(Unconverted::UuidAsText)).collect())
    }

    /// What the source is asked for.
    pub(crate) fn copy_out(&self, converting: Converting) -> String {
        let values: Vec<String> = self.written().map(|column| self.read(column, converting)).collect();
        let filter = self.table.filter.as_ref().map(|filter| format!(" AND ({filter})")).unwrap_or_default();
        format!(
            "COPY (SELECT {} FROM {} AS {BASE} WHERE {}{filter}) TO STDOUT (FORMAT {})",
            values.join(", "),
            self.table.source.quoted(),
            self.range.predicate(BASE, &source_key(&self.table)),
            self.format(),
        )
    }

    /// What the target is told.
    pub(crate) fn copy_in(&self) -> String {
        let names: Vec<String> = self.written().map(|column| column.name.quoted()).collect();
        format!("COPY {} ({}) FROM STDIN (FORMAT {})", self.table.target.quoted(), names.join(", "), self.format())
    }

    fn read(&self, column: &TargetColumn, converting: Converting) -> String {
        let plain = match column.unconverted {
            Some(Unconverted::TimeInUtc) => self.table.is_binary(),
            Some(Unconverted::UuidAsText) => converting == Converting::Here,
            None => false,
        };
        column.plain().filter(|_| plain).unwrap_or_else(|| column.select.clone())
    }

    fn written(&self) -> impl Iterator<Item = &TargetColumn> {
        self.table.columns.iter().filter(|column| column.written)
    }

    fn format(&self) -> &'static str {
        if self.table.is_binary() { "binary" } else { "text" }
    }
}

/// The columns by which a table is divided; none for one without a key.
pub(crate) fn source_key(table: &TablePlan) -> Vec<KeyPart> {
    let data_type = |name: &Identifier| {
        let column = table.source_columns.iter().find(|column| column.name == *name);
        column.map(|column| column.data_type.clone()).unwrap_or_default()
    };
    let part = |name: &Identifier| KeyPart { name: name.clone(), data_type: data_type(name) };
    table.identity.iter().map(|key| part(&key.source)).collect()
}
