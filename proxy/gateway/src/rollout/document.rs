//! The rollout document: which share of each route's keys is on the candidate.
//!
//! A person edits it, and so do the API and the command line, so an edit changes the values it must
//! and leaves every comment, blank line and order as it was.
//!
//! ```toml
//! [routes.invoke]
//! percent = 10        # share of keys on the candidate: 0 to 100, two decimals
//! epoch = 3           # bumped by a rollback
//! ```

use std::collections::BTreeMap;

use layered_config::{Problems, Report};
use serde::Deserialize;
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use super::weight::{Weight, WeightProblem};
use crate::route_table::{RouteId, RouteTable};

/// What the document says about one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The share of keys on the candidate.
    pub weight: Weight,
    /// The epoch, where the document gives one.
    pub epoch: Option<u64>,
}

/// The document, checked against the routes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RolloutDocument {
    entries: BTreeMap<RouteId, Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDocument {
    #[serde(default)]
    routes: BTreeMap<String, RawEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    percent: f64,
    epoch: Option<u64>,
}

impl RolloutDocument {
    /// Reads and checks a document. `running` gives each route's running epoch, below which a
    /// document cannot go: such a document was written before a rollback and would undo it.
    ///
    /// # Errors
    /// Every problem in it, each with its line and how to mend it.
    pub fn parse(
        name: &str,
        text: &str,
        routes: &RouteTable,
        running: impl Fn(RouteId) -> Option<u64>,
    ) -> Result<Self, Problems> {
        let check = |raw: &RawDocument, report: &mut Report| check(raw, routes, &running, report);
        let raw: RawDocument = layered_config::load_str_with(name, text, check)?;
        let entries = raw.routes.iter().filter_map(|(name, entry)| {
            let weight = Weight::from_percent(entry.percent).ok()?;
            Some((routes.by_name(name)?, Entry { weight, epoch: entry.epoch }))
        });
        Ok(Self { entries: entries.collect() })
    }

    /// What the document says about a route.
    #[must_use]
    pub fn get(&self, route: RouteId) -> Option<Entry> {
        self.entries.get(&route).copied()
    }
}

fn check(raw: &RawDocument, routes: &RouteTable, running: &impl Fn(RouteId) -> Option<u64>, report: &mut Report) {
    for (name, entry) in &raw.routes {
        let key = |field: &str| format!("routes.{}{field}", toml_key(name));
        let Some(id) = routes.by_name(name) else {
            let known: Vec<&str> = split_routes(routes).collect();
            let fix = format!("correct or remove it; routes that can move: {}", known.join(", "));
            report.problem(&key(""), format!("there is no route `{name}`"), fix);
            continue;
        };
        if !routes.get(id).sides.is_split() {
            let fix = "remove it, or give the route both `legacy` and `candidate` in the gateway's configuration";
            report.problem(&key(""), format!("route `{name}` has one side only, so no share of it can move"), fix);
        }
        if let Err(problem) = Weight::from_percent(entry.percent) {
            let fix = match problem {
                WeightProblem::OutOfRange => "write a number from 0 to 100, such as 10 or 0.5".to_owned(),
                WeightProblem::TooFine => format!("round it to two decimals: {:.2}", entry.percent),
            };
            report.problem(&key(".percent"), problem.to_string(), fix);
        }
        if let (Some(written), Some(running)) = (entry.epoch, running(id))
            && written < running
        {
            let message = format!("epoch {written} is older than the running epoch {running}: it predates a rollback");
            report.problem(&key(".epoch"), message, format!("look at the weight again, then write epoch = {running}"));
        }
    }
}

fn split_routes(routes: &RouteTable) -> impl Iterator<Item = &str> {
    routes.iter().filter(|(_, route)| route.sides.is_split()).map(|(_, route)| route.name.as_str())
}

/// Route names are checked to be bare keys, but a document may name anything.
fn toml_key(name: &str) -> String {
    format!("{:?}", name.replace('"', ""))
}

/// The text of a document, to be changed in place.
#[derive(Debug, Default)]
pub struct DocumentText(DocumentMut);

impl DocumentText {
    /// Takes over a text that [`RolloutDocument::parse`] has accepted.
    ///
    /// # Errors
    /// When it is no TOML.
    pub fn parse(text: &str) -> Result<Self, toml_edit::TomlError> {
        text.parse().map(Self)
    }

    /// Sets what the document says about a route, keeping comments and order.
    pub fn set(&mut self, route: &str, weight: Weight, epoch: u64) {
        let routes = table_below(self.0.as_table_mut(), "routes", true);
        let entry = table_below(routes, route, false);
        replace(entry, "percent", percent_value(weight));
        replace(entry, "epoch", i64::try_from(epoch).unwrap_or(i64::MAX).into());
    }
}

impl std::fmt::Display for DocumentText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The table below `key`, made if need be. An implicit one has no header of its own.
fn table_below<'a>(parent: &'a mut dyn TableLike, key: &str, implicit: bool) -> &'a mut dyn TableLike {
    if parent.get(key).is_none_or(|item| !item.is_table_like()) {
        let mut table = Table::new();
        table.set_implicit(implicit);
        parent.insert(key, Item::Table(table));
    }
    parent
        .get_mut(key)
        .and_then(Item::as_table_like_mut)
        .expect("a table stands here: it was there or has just been put there")
}

/// Replaces a value; the spaces and the comment around the old one stay.
fn replace(table: &mut dyn TableLike, key: &str, mut value: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

fn percent_value(weight: Weight) -> Value {
    let percent = weight.percent();
    if percent.fract() == 0.0 {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number from 0 to 100")]
        Value::from(percent as i64)
    } else {
        Value::from(percent)
    }
}
