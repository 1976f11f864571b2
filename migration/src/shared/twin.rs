//! Index twins: an index of the monolith that names a converted column helps no query through the
//! view, because the view asks for the converted value. Each gets a twin over that value.
//!
//! A twin is also a guard: from then on the monolith cannot insert what the candidate could not
//! read, such as an id that is not a UUID.

use std::collections::BTreeSet;

use serde_json::json;

use super::marker;
use crate::{
    base::{BaseTable, IndexColumn},
    identifier::{Identifier, QualifiedName, literal},
    projection::{Conversion, Projection, legal, quoted},
};

/// An index that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Twin {
    /// Ends in a digest of the definition: an index of this name is this index.
    pub(crate) name: QualifiedName,
    pub(crate) table: QualifiedName,
    pub(crate) reason: String,
    pub(crate) create: String,
    pub(crate) mark: String,
}

/// The twins that a table needs.
pub(crate) fn twins(target: &str, projection: &Projection, base: &BaseTable) -> Vec<Twin> {
    let converted: BTreeSet<&str> = projection.converted().map(|(_, base)| base.name.as_str()).collect();
    let mut twins = Vec::new();
    let mut leading = BTreeSet::new();
    for index in &base.indexes {
        if !index.columns.iter().any(|column| converted.contains(column.name.as_str())) {
            continue;
        }
        leading.extend(index.columns.first().map(|column| column.name.as_str()));
        let names: Vec<String> = index.columns.iter().map(|column| column.name.clone()).collect();
        // Two spellings of one value must not become two rows with one identity.
        let unique = index.unique && index.predicate.is_none() && is_identity(projection, &names);
        let reason = format!("the index `{}` cannot serve lookups by converted columns", index.name);
        twins.push(twin(target, projection, &index.name, &index.columns, index.predicate.as_deref(), unique, reason));
    }
    for name in &base.foreign_keys {
        if converted.contains(name.as_str()) && !leading.contains(name.as_str()) {
            let column = IndexColumn { name: name.clone(), descending: false, nulls_first: false };
            let stem = format!("{}_{name}", projection.base.name);
            let reason = format!("`{name}` is a foreign key whose type changes, and no index leads with it");
            twins.push(twin(target, projection, &stem, &[column], None, false, reason));
        }
    }
    twins
}

fn is_identity(projection: &Projection, base_columns: &[String]) -> bool {
    base_columns.len() == projection.identity.len()
        && base_columns
            .iter()
            .all(|name| projection.carrier(name).is_some_and(|column| projection.identity.contains(&column.name)))
}

fn twin(
    target: &str,
    projection: &Projection,
    stem: &str,
    columns: &[IndexColumn],
    predicate: Option<&str>,
    unique: bool,
    reason: String,
) -> Twin {
    let keys: Vec<String> = columns.iter().map(|column| key(projection, column)).collect();
    let table = &projection.base;
    let filter = predicate.map(|predicate| format!(" WHERE {predicate}")).unwrap_or_default();
    let unique = if unique { "UNIQUE " } else { "" };
    let definition = format!("ON {} USING btree ({}){filter}", table.quoted(), keys.join(", "));
    let digest = marker::digest(&[unique.to_owned(), definition.clone()]);
    let name = Identifier::derived(&format!("{}_{stem}", projection.view.schema), &format!("_{}", &digest[..8]));
    let create = format!("CREATE {unique}INDEX CONCURRENTLY {} {definition}", name.quoted());
    let name = QualifiedName::new(&table.schema, &name);
    let comment = literal(&marker::text(&json!({ "target": target })));
    let mark = format!("COMMENT ON INDEX {} IS {comment}", name.quoted());
    Twin { name, table: table.clone(), reason, create, mark }
}

/// One key of the index: the view's expression without the alias, or the plain column.
fn key(projection: &Projection, column: &IndexColumn) -> String {
    let name = legal(&column.name).quoted();
    let expression = match projection.carrier(&column.name).and_then(|carrier| carrier.carried()) {
        Some((base, conversion)) if *conversion != Conversion::None => format!("({})", conversion.read(&quoted(base))),
        _ => name,
    };
    let direction = if column.descending { "DESC" } else { "ASC" };
    let nulls = if column.nulls_first { "FIRST" } else { "LAST" };
    format!("{expression} {direction} NULLS {nulls}")
}
