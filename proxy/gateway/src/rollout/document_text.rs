//! The text of a rollout document, changed in place.
//!
//! A person edits it, and so do the API and the command line, so an edit changes the values it must
//! and leaves every comment, blank line and order as it was.

use std::collections::BTreeMap;

use judgement::Phase;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::{ramp_record::RampRecord, slice_state::DataStage, weight::Weight};
use crate::{decision::Side, limit::Quota};

/// The text of a document, to be changed in place.
#[derive(Debug, Clone, Default)]
pub struct DocumentText {
    /// What stands above the first table of a document that had none when it was read. To the parser
    /// it is the end of the document, and would come after all that is added.
    head: String,
    document: DocumentMut,
}

impl DocumentText {
    /// Takes over a text that [`super::RolloutDocument::parse`] has accepted.
    ///
    /// # Errors
    /// When it is no TOML.
    pub fn parse(text: &str) -> Result<Self, toml_edit::TomlError> {
        let document: DocumentMut = text.parse()?;
        Ok(if document.is_empty() {
            let unfinished = !text.is_empty() && !text.ends_with('\n');
            Self { head: format!("{text}{}", if unfinished { "\n" } else { "" }), document: DocumentMut::new() }
        } else {
            Self { head: String::new(), document }
        })
    }

    /// Sets what the document says about a route's weight.
    pub fn set(&mut self, route: &str, weight: Weight, epoch: u64) {
        let entry = self.route(route);
        replace(entry, "percent", percent_value(weight));
        replace(entry, "epoch", i64::try_from(epoch).unwrap_or(i64::MAX).into());
    }

    /// Sets the share of a route that is shadowed. A route that the document does not name yet stays on legacy.
    pub fn set_shadow(&mut self, route: &str, share: Weight) {
        if share == Weight::NONE {
            if let Some(entry) = self.find(&["routes", route]) {
                entry.remove("shadow");
            }
            return;
        }
        let entry = self.route(route);
        if entry.get("percent").is_none() {
            replace(entry, "percent", percent_value(Weight::NONE));
        }
        replace(entry, "shadow", percent_value(share));
    }

    /// Lets the answers of a route's two sides differ at this place. A route that the document does not name yet
    /// stays on legacy.
    pub fn ignore_in_shadow(&mut self, route: &str, path: &str) {
        let entry = self.route(route);
        if entry.get("percent").is_none() {
            replace(entry, "percent", percent_value(Weight::NONE));
        }
        match entry.get_mut("shadow_ignore").and_then(Item::as_array_mut) {
            Some(paths) if paths.iter().any(|known| known.as_str() == Some(path)) => {}
            Some(paths) => paths.push(path),
            None => replace(entry, "shadow_ignore", Value::Array(Array::from_iter([path]))),
        }
    }

    /// Raises the epochs that the document gives, where these are higher.
    pub fn raise_epochs(&mut self, least: &BTreeMap<String, u64>) {
        for (route, least) in least {
            let Some(entry) = self.find(&["routes", route]) else { continue };
            let least = i64::try_from(*least).unwrap_or(i64::MAX);
            if entry.get("epoch").and_then(Item::as_integer).is_some_and(|epoch| epoch < least) {
                replace(entry, "epoch", least.into());
            }
        }
    }

    /// Pins a key of a route to a side. A route that the document does not name yet stays on legacy.
    pub fn set_pin(&mut self, route: &str, key: &str, side: Side) {
        let entry = self.route(route);
        if entry.get("percent").is_none() {
            replace(entry, "percent", percent_value(Weight::NONE));
        }
        replace(table_below(entry, "pins", false), key, side.as_str().into());
    }

    /// Takes a pin away. `false` when there is none.
    pub fn remove_pin(&mut self, route: &str, key: &str) -> bool {
        let pins = self.find(&["routes", route, "pins"]);
        pins.is_some_and(|pins| pins.remove(key).is_some())
    }

    /// Takes every pin to the candidate away, as a rollback does. `false` when there is none.
    pub fn void_candidate_pins(&mut self, route: &str) -> bool {
        let Some(pins) = self.find(&["routes", route, "pins"]) else { return false };
        let to_candidate = |item: &Item| item.as_str() == Some(Side::Candidate.as_str());
        let void: Vec<String> =
            pins.iter().filter(|(_, item)| to_candidate(item)).map(|(key, _)| key.to_owned()).collect();
        for key in &void {
            pins.remove(key);
        }
        !void.is_empty()
    }

    /// Sets where a route's ramp stands.
    pub fn set_ramp(&mut self, route: &str, record: &RampRecord) {
        let RampRecord { plan, state } = record;
        let ramp = table_below(self.route(route), "ramp", false);
        replace(ramp, "plan", plan.as_str().into());
        replace(ramp, "state", state.phase.as_str().into());
        replace(ramp, "step", i64::try_from(state.step + 1).unwrap_or(i64::MAX).into());
        replace(ramp, "percent", percent_value(Weight::from_points(state.weight)));
        replace(ramp, "proven", percent_value(Weight::from_points(state.proven)));
        if state.approved {
            replace(ramp, "approved", true.into());
        } else {
            ramp.remove("approved");
        }
        replace(ramp, "reason", state.reason.as_str().into());
    }

    /// Ends a route's ramp, if one is under way, as a rollback does.
    pub fn end_ramp(&mut self, route: &str, reason: &str) {
        let Some(ramp) = self.find(&["routes", route, "ramp"]) else { return };
        let under_way = |phase: &Phase| phase.is_under_way();
        let state = ramp.get("state").and_then(Item::as_str).unwrap_or_default();
        if Phase::ALL.iter().filter(|phase| under_way(phase)).all(|phase| phase.as_str() != state) {
            return;
        }
        replace(ramp, "state", Phase::RolledBack.as_str().into());
        replace(ramp, "percent", percent_value(Weight::NONE));
        replace(ramp, "proven", percent_value(Weight::NONE));
        replace(ramp, "reason", reason.into());
    }

    /// Sets how far a slice has come, and with it whose its rows are.
    pub fn set_stage(&mut self, slice: &str, stage: DataStage) {
        let slices = table_below(self.document.as_table_mut(), "slices", true);
        let entry = table_below(slices, slice, false);
        replace(entry, "owner", stage.owner().as_str().into());
        replace(entry, "stage", stage.as_str().into());
    }

    /// Sets how much a policy allows.
    pub fn set_limit(&mut self, policy: &str, quota: Quota) {
        let limit = self.limit(policy);
        replace(limit, "rate", quota.rate.to_string().into());
        replace(limit, "burst", i64::from(quota.burst.get()).into());
    }

    /// Lets a policy allow what the configuration says. `false` when it does.
    pub fn remove_limit(&mut self, policy: &str) -> bool {
        let Some(limit) = self.find(&["limits", policy]) else { return false };
        let removed = [limit.remove("rate"), limit.remove("burst")];
        removed.iter().any(Option::is_some)
    }

    /// Sets how much a policy allows to one key.
    pub fn set_override(&mut self, policy: &str, key: &str, quota: Quota) {
        let overrides = table_below(self.limit(policy), "overrides", false);
        // A table that a person has written out is changed line by line.
        if let Some(table) = overrides.get_mut(key).and_then(Item::as_table_like_mut) {
            replace(table, "rate", quota.rate.to_string().into());
            replace(table, "burst", i64::from(quota.burst.get()).into());
            return;
        }
        let mut value = InlineTable::new();
        value.insert("rate", quota.rate.to_string().into());
        value.insert("burst", i64::from(quota.burst.get()).into());
        replace(overrides, key, value.into());
    }

    /// Takes a key's own limit away. `false` when it has none.
    pub fn remove_override(&mut self, policy: &str, key: &str) -> bool {
        let overrides = self.find(&["limits", policy, "overrides"]);
        overrides.is_some_and(|overrides| overrides.remove(key).is_some())
    }

    fn route(&mut self, name: &str) -> &mut dyn TableLike {
        table_below(table_below(self.document.as_table_mut(), "routes", true), name, false)
    }

    fn limit(&mut self, name: &str) -> &mut dyn TableLike {
        table_below(table_below(self.document.as_table_mut(), "limits", true), name, true)
    }

    /// The table at this path, if it is there.
    fn find(&mut self, path: &[&str]) -> Option<&mut dyn TableLike> {
        let root: &mut dyn TableLike = self.document.as_table_mut();
        path.iter().try_fold(root, |table, key| table.get_mut(key)?.as_table_like_mut())
    }
}

impl std::fmt::Display for DocumentText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.head)?;
        self.document.fmt(f)
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
