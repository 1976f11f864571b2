//! How one table of the monolith looks to a candidate, and back. Pure: mapping and catalog in,
//! SQL expressions out.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Finding;
use crate::{
    base::{BaseColumn, BaseTable, Generation},
    identifier::{Identifier, QualifiedName, literal},
    mapping::{Source, Table, key},
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

/// The alias of the monolith's table in every statement.
pub(crate) const BASE: &str = "base";

impl ViewColumn {
    /// The candidate's value, over the columns of the alias [`BASE`].
    pub(crate) fn read(&self) -> String {
        match &self.kind {
            ViewColumnKind::Carried { base, conversion } => conversion.read(&format!("{BASE}.{}", quoted(base))),
            ViewColumnKind::Computed { expression } => format!("({expression})"),
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
    ) -> Result<Self, Vec<Finding>> {
        let base_name = table.from.as_deref().unwrap_or(view.name.as_str());
        let mut builder = Builder { at, table, source, base, base_name, types, findings: Vec::new() };
        let columns = builder.columns();
        let computed_writes = builder.computed_writes();
        let identity = builder.identity(&columns);
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

struct Builder<'a> {
    at: &'a str,
    table: &'a Table,
    source: &'a Source,
    base: &'a BaseTable,
    base_name: &'a str,
    types: &'a TypeNames,
    findings: Vec<Finding>,
}

impl Builder<'_> {
    fn problem(&mut self, part: &str, message: String, fix: &str) {
        let key = if part.is_empty() { self.at.to_owned() } else { format!("{}.{part}", self.at) };
        self.findings.push(Finding::new(key, message, fix));
    }

    fn base_column(&mut self, part: &str, name: &str) -> Option<BaseColumn> {
        let column = self.base.column(name).cloned();
        if column.is_none() {
            let there: Vec<&str> = self.base.columns.iter().map(|column| column.name.as_str()).collect();
            self.problem(
                part,
                format!("the table `{}.{}` has no column `{name}`", self.source.schema, self.base_name),
                &format!("it has {}; after a rename in the monolith, name the new one", there.join(", ")),
            );
        }
        column
    }

    /// The view's columns: the carried ones in the monolith's order, then the computed ones.
    fn columns(&mut self) -> Vec<ViewColumn> {
        let table = self.table;
        for (index, name) in table.drop.iter().enumerate() {
            self.base_column(&format!("drop[{index}]"), name);
        }
        let mut renamed: BTreeMap<String, Vec<(&str, BaseColumn)>> = BTreeMap::new();
        let mut computed = Vec::new();
        for (name, column) in &table.columns {
            let part = key("columns", name);
            if let Some(expression) = &column.read {
                let expression = match &column.data_type {
                    Some(_) => format!("({expression})::{}", self.type_name(&part, column.data_type.as_deref())),
                    None => expression.clone(),
                };
                computed.push(ViewColumn { name: legal(name), kind: ViewColumnKind::Computed { expression } });
            } else if let Some(base) = self.base_column(&part, column.from.as_deref().unwrap_or(name)) {
                renamed.entry(base.name.clone()).or_default().push((name, base));
            }
        }
        let mut columns = Vec::new();
        for base in &self.base.columns {
            for (name, base) in renamed.remove(&base.name).unwrap_or_default() {
                columns.push(self.mapped(name, base));
            }
            if self.passes_through(&base.name) {
                let kind = ViewColumnKind::Carried { base: base.clone(), conversion: Conversion::None };
                columns.push(ViewColumn { name: legal(&base.name), kind });
            }
        }
        columns.extend(computed);
        self.check_carried_once(&columns);
        columns
    }

    /// Whether nothing in the mapping speaks of a column of the monolith.
    fn passes_through(&self, name: &str) -> bool {
        let taken = self.table.columns.contains_key(name)
            || self.table.columns.values().any(|column| column.from.as_deref() == Some(name));
        !taken && !self.table.write.contains_key(name) && !self.table.drop.iter().any(|dropped| dropped == name)
    }

    fn mapped(&mut self, name: &str, base: BaseColumn) -> ViewColumn {
        let column = &self.table.columns[name];
        let part = key("columns", name);
        let conversion = match column.data_type.as_deref() {
            None => Conversion::None,
            wanted => {
                let candidate = self.type_name(&part, wanted);
                let zoned = |a: &str, b: &str| {
                    a.starts_with("timestamp")
                        && a.ends_with("without time zone")
                        && b.starts_with("timestamp")
                        && b.ends_with("with time zone")
                };
                if candidate == base.declared_type || candidate == base.bare_type {
                    Conversion::None
                } else if zoned(&base.declared_type, &candidate) || zoned(&candidate, &base.declared_type) {
                    let zone = column.time_zone.as_ref().unwrap_or(&self.source.time_zone);
                    Conversion::AtTimeZone { zone: zone.clone() }
                } else {
                    Conversion::Cast { base: base.bare_type.clone(), candidate }
                }
            }
        };
        if column.time_zone.is_some() && !matches!(conversion, Conversion::AtTimeZone { .. }) {
            self.problem(
                &format!("{part}.time_zone"),
                format!("`{}` is a {}, which no time zone applies to", base.name, base.declared_type),
                "remove time_zone, or change between timestamp and timestamptz",
            );
        }
        ViewColumn { name: legal(name), kind: ViewColumnKind::Carried { base, conversion } }
    }

    fn type_name(&mut self, part: &str, wanted: Option<&str>) -> String {
        let wanted = wanted.unwrap_or_default();
        match self.types.get(wanted) {
            Some(Some(canonical)) => canonical.clone(),
            _ => {
                self.problem(
                    &format!("{part}.type"),
                    format!("there is no type `{wanted}`"),
                    "name a type of the database, with its schema unless it is built in",
                );
                wanted.to_owned()
            }
        }
    }

    /// A column of the monolith written from two places would take one of them by accident.
    fn check_carried_once(&mut self, columns: &[ViewColumn]) {
        let mut writers = BTreeSet::new();
        for column in columns {
            let Some((base, _)) = column.carried() else { continue };
            let dropped = self.table.drop.contains(&base.name);
            if !writers.insert(base.name.clone()) || dropped || self.table.write.contains_key(&base.name) {
                self.problem(
                    &key("columns", column.name.as_str()),
                    format!(
                        "the column `{}` is also dropped, written by an expression or carried elsewhere",
                        base.name
                    ),
                    "make the second one a `read` expression, or remove one of the two",
                );
            }
        }
    }

    fn computed_writes(&mut self) -> Vec<ComputedWrite> {
        let table = self.table;
        let mut writes = Vec::new();
        for (name, expression) in &table.write {
            let part = key("write", name);
            let Some(base) = self.base_column(&part, name) else { continue };
            if matches!(base.generation, Generation::Computed | Generation::IdentityAlways) {
                self.problem(&part, format!("the database generates `{name}` itself"), "remove the expression");
            }
            writes.push(ComputedWrite { base, expression: expression.clone() });
        }
        writes
    }

    fn identity(&mut self, columns: &[ViewColumn]) -> Vec<Identifier> {
        let carried = |base: &str| columns.iter().find(|c| c.carried().is_some_and(|(b, _)| b.name == base));
        let mut identity = Vec::new();
        let mut base_names = Vec::new();
        if self.table.identity.is_empty() {
            for base in self.base.primary_key().unwrap_or_default() {
                match carried(&base) {
                    Some(column) => identity.push(column.name.clone()),
                    None => self.problem(
                        "identity",
                        format!("the view does not carry `{base}`, a column of the primary key"),
                        "carry it, or name other columns that tell the rows apart",
                    ),
                }
                base_names.push(base);
            }
        }
        for (index, name) in self.table.identity.iter().enumerate() {
            match columns.iter().find(|column| column.name.as_str() == name).and_then(ViewColumn::carried) {
                Some((base, _)) => {
                    identity.push(legal(name));
                    base_names.push(base.name.clone());
                }
                None => self.problem(
                    &format!("identity[{index}]"),
                    format!("`{name}` is not a column carried over from the monolith"),
                    "name a column of the view that is not computed",
                ),
            }
        }
        for name in &base_names {
            if self.base.column(name).is_some_and(|column| !column.not_null) {
                self.problem(
                    "identity",
                    format!("`{}.{name}` may be null, and a null is equal to nothing", self.base_name),
                    "name columns that are NOT NULL",
                );
            }
        }
        if !self.base.is_unique(&base_names) {
            self.problem(
                "identity",
                format!("nothing in the database keeps ({}) unique in `{}`", base_names.join(", "), self.base_name),
                "name columns with a primary key or unique index, or add one: an update must hit one row",
            );
        }
        identity
    }

    /// Every column that needs a value must be able to get one through the view.
    fn check_not_null(&mut self, columns: &[ViewColumn]) {
        for base in &self.base.columns {
            let supplied = base.default.is_some() || base.generation != Generation::None;
            let written = self.table.write.contains_key(&base.name)
                || columns.iter().any(|column| column.carried().is_some_and(|(b, _)| b.name == base.name));
            if base.not_null && !supplied && !written {
                self.problem(
                    "",
                    format!("`{}.{}` must have a value, and the view cannot give it one", self.base_name, base.name),
                    &format!("carry it, or add write.{} = \"an expression\"", base.name),
                );
            }
        }
    }
}
