//! What the monolith's tables look like, read from the live catalog.

use std::collections::BTreeMap;

use serde::Deserialize;
use sqlx::{PgConnection, types::Json};

/// Everything about the tables of one schema that a stage decides from.
#[derive(Debug, Clone, Default)]
pub(crate) struct BaseSchema {
    pub(crate) tables: BTreeMap<String, BaseTable>,
}

/// One table.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct BaseTable {
    pub(crate) columns: Vec<BaseColumn>,
    pub(crate) indexes: Vec<BaseIndex>,
    /// Columns that are a foreign key alone.
    pub(crate) foreign_keys: Vec<String>,
    /// All of its foreign keys.
    #[serde(default)]
    pub(crate) references: Vec<Reference>,
    /// Triggers that fire on the update of named columns only.
    pub(crate) column_triggers: Vec<String>,
    /// Whether its rows are in partitions, where an index cannot be made concurrently.
    pub(crate) partitioned: bool,
    /// Whether who is connected may make indexes on it.
    pub(crate) owned: bool,
}

/// One column.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct BaseColumn {
    pub(crate) name: String,
    /// The type as declared, such as `character varying(255)`.
    pub(crate) declared_type: String,
    /// The type without its length, which a cast must not cut to in silence.
    pub(crate) bare_type: String,
    pub(crate) not_null: bool,
    pub(crate) default: Option<String>,
    pub(crate) generation: Generation,
    /// What a computed column is computed by, over the row.
    #[serde(default)]
    pub(crate) expression: Option<String>,
    /// The type that carries its values between two databases in binary: one of PostgreSQL's own,
    /// `text` for an enum, a domain's base. None for what holds ids of this database's types, such
    /// as an array of enums, or a reg* type.
    #[serde(default)]
    pub(crate) wire: Option<String>,
    /// The sequence behind an identity column, as SQL text that `nextval` takes.
    pub(crate) sequence: Option<String>,
}

/// Who makes the values of a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Generation {
    /// The writer.
    #[default]
    None,
    /// A sequence, unless the writer gives a value.
    IdentityByDefault,
    /// A sequence, always.
    IdentityAlways,
    /// An expression over the row.
    Computed,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) referred: Vec<String>,
    /// What follows its columns, such as ` ON DELETE CASCADE`.
    pub(crate) clauses: String,
}

/// A usable B-tree index over plain columns.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct BaseIndex {
    pub(crate) name: String,
    pub(crate) unique: bool,
    pub(crate) primary: bool,
    pub(crate) columns: Vec<IndexColumn>,
    pub(crate) predicate: Option<String>,
}

/// A column in the order of an index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct IndexColumn {
    pub(crate) name: String,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

impl BaseTable {
    pub(crate) fn column(&self, name: &str) -> Option<&BaseColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The names and declared types, kept with what is built upon them so that drift has a before.
    pub(crate) fn signature(&self) -> BTreeMap<String, String> {
        self.columns.iter().map(|column| (column.name.clone(), column.declared_type.clone())).collect()
    }

    /// Whether a unique index, not a partial one, covers exactly these columns.
    pub(crate) fn is_unique(&self, columns: &[String]) -> bool {
        self.indexes.iter().any(|index| {
            index.unique
                && index.predicate.is_none()
                && index.columns.len() == columns.len()
                && index.columns.iter().all(|column| columns.contains(&column.name))
        })
    }

    pub(crate) fn primary_key(&self) -> Option<Vec<String>> {
        let index = self.indexes.iter().find(|index| index.primary)?;
        Some(index.columns.iter().map(|column| column.name.clone()).collect())
    }
}

impl BaseSchema {
    /// Reads the named tables of a schema; those that are not there are not in the answer.
    pub(crate) async fn read(connection: &mut PgConnection, schema: &str, tables: &[String]) -> sqlx::Result<Self> {
        let rows: Vec<(String, Json<BaseTable>)> =
            sqlx::query_as(include_str!("base.sql")).bind(schema).bind(tables).fetch_all(connection).await?;
        Ok(Self { tables: rows.into_iter().map(|(name, Json(table))| (name, table)).collect() })
    }
}
