//! The mapping document: which table of the candidate is which table of the monolith.
//!
//! ```toml
//! [source]
//! schema = "public"          # where the monolith's tables are
//! time_zone = "UTC"          # what its `timestamp` columns mean
//!
//! [targets.lambda-service]
//! schema = "lambda_service"  # the candidate's own schema
//! role = "lambda_service"    # optional: who may use it
//!
//! [targets.lambda-service.tables.invocations]
//! from = "executions"        # the monolith's table; the same name when left out
//! drop = ["node_name"]       # columns the candidate does not see
//! [targets.lambda-service.tables.invocations.columns]
//! id = { type = "uuid" }                                # a change of type
//! took_ms = { from = "duration_ms" }                    # a new name
//! created_at = { type = "timestamptz" }                 # at the source's time zone
//! slow = { read = "duration_ms > 1000" }                # computed for the candidate
//! [targets.lambda-service.tables.invocations.write]
//! node = "'candidate'"                                  # computed for the monolith
//!
//! [slices.invocations]       # what moves together into a database of the target's own
//! target = "lambda-service"
//! schema = "public"          # there; the target's when left out
//! owner = "switch"           # one writer at a time; or "append": both add rows
//! tables = ["invocations"]   # all of the target's when left out
//! filters = { invocations = "created_at >= '2024-01-01'" }    # which rows move
//! cut = { invocations = ["executions_function_id_fkey"] }      # foreign keys that do not
//! ```
//!
//! Columns that are not mentioned are carried over as they are. `read` is SQL over the monolith's
//! columns; `write` gives a column of the monolith as SQL over the candidate's columns; both see
//! `pg_catalog` and the source schema. `write` is also the inverse when a slice goes back.

mod slices;

use std::{collections::BTreeMap, str::FromStr};

use layered_config::{Problems, Report, Validate, load_str};
use schemars::JsonSchema;
use serde::Deserialize;

pub use slices::{Owner, Slice, UnfitPolicy};

use crate::identifier::Identifier;

/// The whole document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The monolith's side.
    #[serde(default)]
    pub source: Source,
    /// The candidates' sides, by the name of the service.
    #[serde(default)]
    pub targets: BTreeMap<String, Target>,
    /// What moves together, by a name for it.
    #[serde(default)]
    pub slices: BTreeMap<String, Slice>,
}

/// The monolith's side.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// The schema its tables are in.
    pub schema: String,
    /// The IANA time zone that its `timestamp` columns are in.
    pub time_zone: String,
}

impl Default for Source {
    fn default() -> Self {
        Self { schema: "public".to_owned(), time_zone: "UTC".to_owned() }
    }
}

/// One candidate's side.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The schema that it finds its tables in.
    pub schema: String,
    /// The role it connects as. It is given what it needs on the views, and nothing on the tables.
    pub role: Option<String>,
    /// Its tables, by the name it knows them under.
    #[serde(default)]
    pub tables: BTreeMap<String, Table>,
}

/// One table of a candidate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Table {
    /// The monolith's table; the same name when left out.
    pub from: Option<String>,
    /// The candidate's columns that tell its rows apart; the primary key when left out.
    pub identity: Vec<String>,
    /// Columns of the monolith that the candidate does not see.
    pub drop: Vec<String>,
    /// Columns that are not simply carried over, by the candidate's name.
    pub columns: BTreeMap<String, Column>,
    /// Columns of the monolith that are computed from the candidate's, by the monolith's name.
    pub write: BTreeMap<String, String>,
}

/// How one column of the candidate comes about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Column {
    /// The monolith's column; the same name when left out. Not together with `read`.
    pub from: Option<String>,
    /// The candidate's type; the monolith's when left out.
    #[serde(rename = "type")]
    pub data_type: Option<String>,
    /// The time zone of a `timestamp` that becomes a `timestamptz`; the source's when left out.
    pub time_zone: Option<String>,
    /// SQL over the monolith's columns. The column is then read-only, unless `write` uses it.
    pub read: Option<String>,
}

impl Mapping {
    /// Reads the document; `name` is what it is called in problems, usually its path.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, Problems> {
        load_str(name, text)
    }
}

impl Validate for Mapping {
    fn validate(&self, report: &mut Report) {
        identifier("source.schema", &self.source.schema, report);
        time_zone("source.time_zone", &self.source.time_zone, report);
        if self.targets.is_empty() {
            report.problem("", "it maps nothing", "add a [targets.NAME] table for each service");
        }
        let mut schemas = BTreeMap::from([(self.source.schema.as_str(), "the source")]);
        for (name, target) in &self.targets {
            report.nested(&key("targets", name), |report| {
                target.validate(report);
                if let Some(owner) = schemas.insert(&target.schema, name) {
                    report.problem(
                        "schema",
                        format!("`{}` is already the schema of {owner}", target.schema),
                        "give each target a schema of its own",
                    );
                }
            });
        }
        slices::validate(self, report);
    }
}

impl Validate for Target {
    fn validate(&self, report: &mut Report) {
        identifier("schema", &self.schema, report);
        if self.schema.starts_with("pg_") {
            report.problem("schema", "names that begin with `pg_` are PostgreSQL's own", "choose another name");
        }
        if let Some(role) = &self.role {
            identifier("role", role, report);
        }
        if self.tables.is_empty() {
            report.problem("", "it has no tables", "add a [targets.NAME.tables.TABLE] table for each of its tables");
        }
        for (name, table) in &self.tables {
            let at = key("tables", name);
            identifier(&at, name, report);
            report.nested(&at, |report| table.validate(report));
        }
    }
}

impl Validate for Table {
    fn validate(&self, report: &mut Report) {
        if let Some(from) = &self.from {
            identifier("from", from, report);
        }
        for (list, names) in [("identity", &self.identity), ("drop", &self.drop)] {
            for (index, name) in names.iter().enumerate() {
                identifier(&format!("{list}[{index}]"), name, report);
                if names[..index].contains(name) {
                    report.problem(&format!("{list}[{index}]"), "it is there twice", "remove one of the two");
                }
            }
        }
        for (name, column) in &self.columns {
            let at = key("columns", name);
            identifier(&at, name, report);
            report.nested(&at, |report| column.validate(report));
        }
        for (name, expression) in &self.write {
            let at = key("write", name);
            identifier(&at, name, report);
            sql(&at, expression, report);
        }
    }
}

impl Validate for Column {
    fn validate(&self, report: &mut Report) {
        if let Some(from) = &self.from {
            identifier("from", from, report);
        }
        if let Some(data_type) = &self.data_type
            && !is_type_name(data_type)
        {
            report.problem(
                "type",
                "it is not the name of a type",
                "write a type such as \"uuid\" or \"numeric(10,2)\"",
            );
        }
        if let Some(zone) = &self.time_zone {
            time_zone("time_zone", zone, report);
            if self.data_type.is_none() {
                report.problem(
                    "time_zone",
                    "there is no change of type that it could apply to",
                    "add type = \"timestamptz\"",
                );
            }
        }
        if let Some(expression) = &self.read {
            sql("read", expression, report);
            if self.from.is_some() || self.time_zone.is_some() {
                report.problem(
                    "read",
                    "an expression stands alone, without `from` and `time_zone`",
                    "name the column inside of the expression",
                );
            }
        }
    }
}

/// A key below `parent`, quoted as far as TOML needs it.
pub(crate) fn key(parent: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { format!("{parent}.{name}") } else { format!("{parent}.\"{name}\"") }
}

fn identifier(at: &str, name: &str, report: &mut Report) {
    if let Err(problem) = Identifier::new(name) {
        report.problem(at, problem.to_string(), "write the name as PostgreSQL's catalog has it, without quotes");
    }
}

fn time_zone(at: &str, zone: &str, report: &mut Report) {
    if chrono_tz::Tz::from_str(zone).is_err() {
        report.problem(at, "there is no such time zone", "write an IANA name such as \"UTC\" or \"Europe/Berlin\"");
    }
}

fn sql(at: &str, expression: &str, report: &mut Report) {
    if expression.trim().is_empty() {
        report.problem(at, "the expression is empty", "write SQL, or remove the key");
    }
}

/// Words, dots, spaces and quoted names, then perhaps `(n)` or `(n,m)`, then perhaps `[]`: enough for
/// every type, and nothing that could be more than a type.
fn is_type_name(text: &str) -> bool {
    let text = text.trim_end_matches("[]");
    let (name, modifier) = match text.split_once('(') {
        Some((name, rest)) => match rest.strip_suffix(')') {
            Some(modifier) => (name, Some(modifier)),
            None => return false,
        },
        None => (text, None),
    };
    let starts_well = name.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '"'));
    // What is between quotes is every second part; a quote inside of a name is left out.
    let parts: Vec<&str> = name.split('"').collect();
    let quotes_close = parts.len() % 2 == 1;
    let parts_are_names = parts.iter().enumerate().all(|(place, part)| {
        if place % 2 == 1 {
            !part.is_empty() && part.chars().all(|c| !c.is_control() && c != ')')
        } else {
            part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | ' '))
        }
    });
    starts_well
        && quotes_close
        && parts_are_names
        && modifier.is_none_or(|digits| {
            !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | ' '))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        Mapping::from_toml("mapping.toml", text).expect_err("it has problems").to_string()
    }

    #[test]
    fn every_problem_is_shown_at_its_line() {
        insta::assert_snapshot!(problems(
            r#"
[source]
time_zone = "Mars/Olympus"

[targets.shop]
schema = "public"

[targets.shop.tables.orders]
drop = ["a", "a"]
[targets.shop.tables.orders.columns]
id = { type = "uuid; drop table x" }
placed_at = { time_zone = "UTC" }
total = { read = " ", from = "sum" }

[targets.empty]
schema = "pg_own"
"#
        ));
    }

    #[test]
    fn what_no_stage_uses_yet_is_refused() {
        let shown = problems("[targets.a]\nschema = \"a\"\n[targets.a.tables.t]\nfilter = \"x > 1\"\n");
        assert!(shown.contains("filter") && shown.contains("mapping.toml:4"), "{shown}");
    }

    #[test]
    fn problems_of_slices_are_shown_at_their_line() {
        insta::assert_snapshot!(problems(
            r#"
[targets.shop]
schema = "shop"
[targets.shop.tables.orders]
[targets.shop.tables.customers]
[targets.desk]
schema = "desk"
[targets.desk.tables.people]
from = "customers"

[slices.orders]
target = "shop"
tables = ["orders", "orders", "order_lines"]
filters = { customers = "true", orders = " " }
cut = { nothing = ["x"] }

[slices.customers]
target = "shop"
schema = "strangler"
tables = ["customers"]

[slices.people]
target = "desk"

[slices.elsewhere]
target = "nowhere"
"#
        ));
    }

    #[test]
    fn a_table_may_go_to_two_services_by_filters() {
        let text = r#"
[targets.shop]
schema = "shop"
[targets.shop.tables.customers]
[targets.desk]
schema = "desk"
[targets.desk.tables.people]
from = "customers"
[slices.customers]
target = "shop"
filters = { customers = "not internal" }
[slices.people]
target = "desk"
owner = "append"
"#;
        let mapping = Mapping::from_toml("mapping.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(mapping.slices["customers"].owner, Owner::Switch);
        assert_eq!(mapping.slices["people"].owner, Owner::Append);
    }

    #[test]
    fn types_are_names_and_nothing_more() {
        for good in [
            "uuid",
            "timestamp with time zone",
            "numeric(10, 2)",
            "public.mood",
            "text[]",
            "varchar(36)",
            "\"Role\"",
            "shop.\"Order State\"[]",
        ] {
            assert!(is_type_name(good), "{good}");
        }
        for bad in ["", "(3)", "uuid)", "uuid; x", "a'b", "numeric()", "x(1) y", "\"q", "\"\"", "\"a\" ; x", "\"a)\""] {
            assert!(!is_type_name(bad), "{bad}");
        }
    }
}
