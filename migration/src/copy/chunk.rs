//! One part of a table, and the two COPY statements that move it.

use std::sync::Arc;

use crate::{
    identifier::Identifier,
    projection::BASE,
    slice::{KeyPart, KeyRange, TablePlan},
};

/// A part of a table that is copied whole or not at all.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) slice: String,
    pub(crate) table: Arc<TablePlan>,
    pub(crate) number: i32,
    pub(crate) range: KeyRange,
}

impl Chunk {
    /// What the source is asked for.
    pub(crate) fn copy_out(&self) -> String {
        let values: Vec<&str> = self.written().map(|column| column.select.as_str()).collect();
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

    fn written(&self) -> impl Iterator<Item = &crate::slice::TargetColumn> {
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
