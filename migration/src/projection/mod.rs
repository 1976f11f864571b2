//! How one table of the monolith looks to a candidate, and back. Pure: mapping and catalog in,
//! SQL expressions out.

mod builder;

use std::collections::BTreeMap;

use builder::Builder;

use crate::{
    base::{BaseColumn, BaseTable},
    finding::Finding,
    identifier::{Identifier, QualifiedName, literal},
    mapping::{Source, Table},
};

/// What types of the mapping mean to the database: the text as written, to its canonical name
/// (`None` when there is no such type).
pub(crate) type TypeNames = BTreeMap<String, Option<String>>;

/// How the value of one column becomes the value of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Conversion {
    None,
    Cast {
        base: String,
        candidate: String,
    },
    /// `timestamp` here and `timestamptz` there, or the other way; the operator is its own inverse.
    AtTimeZone {
        zone: String,
    },
}

impl Conversion {
    /// The candidate's value from the monolith's.
    pub(crate) fn read(&self, operand: &str) -> String {
        match self {
            Self::None => operand.to_owned(),
            Self::Cast { candidate, .. } => format!("({operand})::{candidate}"),
            Self::AtTimeZone { zone } => format!("({operand} AT TIME ZONE {})", literal(zone)),
        }
    }

    /// The monolith's value from the candidate's. A cast leaves the length to the assignment that
    /// follows: an explicit cast to `varchar(n)` would cut without an error.
    pub(crate) fn write(&self, operand: &str) -> String {
        match self {
            Self::None => operand.to_owned(),
            Self::Cast { base, .. } => format!("({operand})::{base}"),
            Self::AtTimeZone { zone } => format!("({operand} AT TIME ZONE {})", literal(zone)),
        }
    }
}

/// One column of the view.
#[derive(Debug, Clone)]
pub(crate) struct ViewColumn {
    pub(crate) name: Identifier,
    pub(crate) kind: ViewColumnKind,
    /// The candidate's type with its length or precision, where the mapping names one.
    pub(crate) declared: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum ViewColumnKind {
    /// The monolith's column, converted.
    Carried { base: BaseColumn, conversion: Conversion },
    /// SQL over the monolith's columns.
    Computed { expression: String },
}

/// A column of the monolith that is SQL over the candidate's columns.
#[derive(Debug, Clone)]
pub(crate) struct ComputedWrite {
    pub(crate) base: BaseColumn,
    pub(crate) expression: String,
}

/// One table of the monolith as a candidate sees it.
#[derive(Debug, Clone)]
pub(crate) struct Projection {
    /// Where in the mapping it is, for findings.
    pub(crate) key: String,
    pub(crate) base: QualifiedName,
    pub(crate) view: QualifiedName,
    pub(crate) columns: Vec<ViewColumn>,
    pub(crate) computed_writes: Vec<ComputedWrite>,
    /// Columns of the view that tell its rows apart; each is carried.
    pub(crate) identity: Vec<Identifier>,
}

/// Whether rows must be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdentityRule {
    /// By a primary key or by what the mapping names: a view that is written through needs it.
    Required,
    /// A table without a primary key has none.
    IfThere,
}

/// The alias of the monolith's table in every statement.
pub(crate) const BASE: &str = "base";

impl ViewColumn {
    /// The candidate's value, over the columns of the alias [`BASE`].
    pub(crate) fn read(&self) -> String {
        match &self.kind {
            ViewColumnKind::Carried { base, conversion } => conversion.read(&format!("{BASE}.{}", quoted(base))),
            ViewColumnKind::Computed { expression } => match &self.declared {
                Some(declared) => format!("(({expression})::{declared})"),
                None => format!("({expression})"),
            },
        }
    }

    /// The conversion of a carried column.
    pub(crate) fn carried(&self) -> Option<(&BaseColumn, &Conversion)> {
        match &self.kind {
            ViewColumnKind::Carried { base, conversion } => Some((base, conversion)),
            ViewColumnKind::Computed { .. } => None,
        }
    }
}

/// A base column's name as SQL; the catalog gave it, so it is a legal one.
pub(crate) fn quoted(column: &BaseColumn) -> String {
    legal(&column.name).quoted()
}

/// A name that the catalog or the validated mapping gave.
pub(crate) fn legal(name: &str) -> Identifier {
    Identifier::new(name).expect("the catalog and a validated mapping hold legal names only")
}

impl Projection {
    /// Joins mapping and catalog, or says everything that does not fit.
    pub(crate) fn new(
        at: &str,
        view: QualifiedName,
        table: &Table,
        source: &Source,
        base: &BaseTable,
        types: &TypeNames,
        rule: IdentityRule,
    ) -> Result<Self, Vec<Finding>> {
        let base_name = table.from.as_deref().unwrap_or(view.name.as_str());
        let mut builder = Builder { at, table, source, base, base_name, types, findings: Vec::new() };
        let columns = builder.columns();
        let computed_writes = builder.computed_writes();
        let identity = builder.identity(&columns, rule);
        builder.check_not_null(&columns);
        if !builder.findings.is_empty() {
            return Err(builder.findings);
        }
        let base = QualifiedName::new(&legal(&source.schema), &legal(base_name));
        Ok(Self { key: at.to_owned(), base, view, columns, computed_writes, identity })
    }

    /// The carried column under a name of the monolith.
    pub(crate) fn carrier(&self, base_column: &str) -> Option<&ViewColumn> {
        self.columns.iter().find(|column| column.carried().is_some_and(|(base, _)| base.name == base_column))
    }

    /// The carried columns whose value is not the monolith's as it stands.
    pub(crate) fn converted(&self) -> impl Iterator<Item = (&ViewColumn, &BaseColumn)> {
        self.columns.iter().filter_map(|column| match column.carried() {
            Some((base, conversion)) if *conversion != Conversion::None => Some((column, base)),
            _ => None,
        })
    }
}
