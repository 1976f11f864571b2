//! Slices: which tables of a target move together into a database of its own.

use std::collections::{BTreeMap, BTreeSet};

use layered_config::Report;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Mapping, Target, identifier, key, sql};

/// Tables that move together, to one target.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// The name of the target.
    pub target: String,
    /// The schema of the tables in the target's own database; the target's when left out.
    pub schema: Option<String>,
    /// Who may write the tables while both sides run.
    #[serde(default)]
    pub owner: Owner,
    /// What becomes of a cutover when the candidate has rows that the monolith could not hold.
    #[serde(default)]
    pub unfit_rows: UnfitPolicy,
    /// The candidate's names of the tables; all of the target's when left out.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Which rows of the monolith's table move, as SQL over its columns, by the candidate's name.
    #[serde(default)]
    pub filters: BTreeMap<String, String>,
    /// Names of the monolith's foreign keys that the candidate's table does not get, by the
    /// candidate's name of the table.
    #[serde(default)]
    pub cut: BTreeMap<String, Vec<String>>,
}

/// Who may write the tables of a slice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// One side at a time; a cutover changes it.
    #[default]
    Switch,
    /// Both: rows are only added, under keys that no two writers choose alike.
    Append,
}

/// What becomes of a cutover, or a rollback, when the candidate has rows that the monolith could not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnfitPolicy {
    /// They stand against it, and are named.
    #[default]
    Refuse,
    /// They are named; on the way back each waits in quarantine, until somebody mends or skips it.
    List,
}

impl Slice {
    /// The candidate's names of its tables.
    pub(crate) fn table_names<'a>(&'a self, target: &'a Target) -> Vec<&'a str> {
        if self.tables.is_empty() {
            target.tables.keys().map(String::as_str).collect()
        } else {
            self.tables.iter().map(String::as_str).collect()
        }
    }

    fn validate(&self, mapping: &Mapping, report: &mut Report) {
        if let Some(schema) = &self.schema {
            identifier("schema", schema, report);
            if schema.starts_with("pg_") || schema == "strangler" {
                report.problem(
                    "schema",
                    "PostgreSQL's own names and the toolkit's are taken",
                    "choose the schema that the service looks into",
                );
            }
        }
        let Some(target) = mapping.targets.get(&self.target) else {
            let there: Vec<&str> = mapping.targets.keys().map(String::as_str).collect();
            report.problem("target", "there is no such target", format!("name one of: {}", there.join(", ")));
            return;
        };
        for (index, name) in self.tables.iter().enumerate() {
            let at = format!("tables[{index}]");
            if !target.tables.contains_key(name) {
                report.problem(
                    &at,
                    format!("the target has no table `{name}`"),
                    "use the candidate's name, not the monolith's",
                );
            } else if self.tables[..index].contains(name) {
                report.problem(&at, "it is there twice", "remove one of the two");
            }
        }
        let tables = self.table_names(target);
        for name in self.filters.keys().chain(self.cut.keys()) {
            let part = if self.filters.contains_key(name) { "filters" } else { "cut" };
            if !tables.contains(&name.as_str()) {
                report.problem(
                    &key(part, name),
                    format!("`{name}` is not a table of this slice"),
                    "use the candidate's name of one of its tables",
                );
            }
        }
        for (name, filter) in &self.filters {
            sql(&key("filters", name), filter, report);
        }
        for (name, foreign_keys) in &self.cut {
            for (index, foreign_key) in foreign_keys.iter().enumerate() {
                identifier(&format!("{}[{index}]", key("cut", name)), foreign_key, report);
            }
        }
    }
}

/// Checks the slices, each alone and all against each other.
pub(super) fn validate(mapping: &Mapping, report: &mut Report) {
    let mut placed = BTreeSet::new();
    let mut whole: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, slice) in &mapping.slices {
        report.nested(&key("slices", name), |report| {
            identifier("", name, report);
            slice.validate(mapping, report);
        });
        let Some(target) = mapping.targets.get(&slice.target) else { continue };
        for table_name in slice.table_names(target) {
            let Some(table) = target.tables.get(table_name) else { continue };
            let at = key("slices", name);
            if !placed.insert((slice.target.as_str(), table_name)) {
                report.problem(
                    &at,
                    format!("`{table_name}` of {} is in another slice already", slice.target),
                    "let each table move once",
                );
                continue;
            }
            let from = table.from.as_deref().unwrap_or(table_name);
            if !slice.filters.contains_key(table_name)
                && slice.owner == Owner::Switch
                && let Some(other) = whole.insert(from, name)
                && other != name
            {
                report.problem(
                    &at,
                    format!("`{from}` of the monolith moves whole to two owners, here and in `{other}`"),
                    "give each of the two a filter that says which rows it gets, or use owner = \"append\"",
                );
            }
        }
    }
}
