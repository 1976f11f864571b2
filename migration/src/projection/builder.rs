//! Joins one table of the mapping with the monolith's table, and collects whatever does not fit.

use std::collections::{BTreeMap, BTreeSet};

use super::{ComputedWrite, Conversion, IdentityRule, TypeNames, ViewColumn, ViewColumnKind, legal};
use crate::{
    base::{BaseColumn, BaseTable, Generation},
    finding::Finding,
    identifier::Identifier,
    mapping::{Source, Table, key},
};

pub(super) struct Builder<'a> {
    pub(super) at: &'a str,
    pub(super) table: &'a Table,
    pub(super) source: &'a Source,
    pub(super) base: &'a BaseTable,
    pub(super) base_name: &'a str,
    pub(super) types: &'a TypeNames,
    pub(super) findings: Vec<Finding>,
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
    pub(super) fn columns(&mut self) -> Vec<ViewColumn> {
        let table = self.table;
        for (index, name) in table.drop.iter().enumerate() {
            self.base_column(&format!("drop[{index}]"), name);
        }
        let mut renamed: BTreeMap<String, Vec<(&str, BaseColumn)>> = BTreeMap::new();
        let mut computed = Vec::new();
        for (name, column) in &table.columns {
            let part = key("columns", name);
            if let Some(expression) = &column.read {
                let declared = column.data_type.as_deref().map(|wanted| self.type_name(&part, wanted));
                let kind = ViewColumnKind::Computed { expression: expression.clone() };
                computed.push(ViewColumn { name: legal(name), kind, declared });
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
                columns.push(ViewColumn { name: legal(&base.name), kind, declared: None });
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
        let declared = column.data_type.as_deref().map(|wanted| self.type_name(&part, wanted));
        let conversion = match declared.clone() {
            None => Conversion::None,
            Some(candidate) => {
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
        ViewColumn { name: legal(name), kind: ViewColumnKind::Carried { base, conversion }, declared }
    }

    fn type_name(&mut self, part: &str, wanted: &str) -> String {
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

    pub(super) fn computed_writes(&mut self) -> Vec<ComputedWrite> {
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

    pub(super) fn identity(&mut self, columns: &[ViewColumn], rule: IdentityRule) -> Vec<Identifier> {
        let carried = |base: &str| columns.iter().find(|c| c.carried().is_some_and(|(b, _)| b.name == base));
        let mut identity = Vec::new();
        let mut base_names = Vec::new();
        if rule == IdentityRule::IfThere && self.table.identity.is_empty() && self.base.primary_key().is_none() {
            return identity;
        }
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
    pub(super) fn check_not_null(&mut self, columns: &[ViewColumn]) {
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
