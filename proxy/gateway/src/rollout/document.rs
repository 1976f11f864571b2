//! The rollout document: which share of each route's keys is on the candidate, which keys are pinned
//! to a side, and how much each limit allows.
//!
//! ```toml
//! [routes.invoke]
//! percent = 10        # share of keys on the candidate: 0 to 100, two decimals
//! epoch = 3           # bumped by a rollback
//! shadow = 25         # share of keys or requests whose copy goes to the other side; none unless given
//! shadow_ignore = ["$.items[*].at"]  # places where its answers may differ
//!
//! [routes.invoke.pins]
//! "fn-1" = "candidate"            # whatever the percentage; a rollback removes it
//! "fn-2" = "legacy"               # a rollback leaves it
//!
//! [routes.invoke.ramp]            # where its ramp stands; the gateway writes this
//!
//! [limits.per-function]           # in place of the configuration's numbers; each may be left out
//! rate = "50/s"
//! burst = 10
//!
//! [limits.per-function.overrides]
//! "fn-1" = { rate = "500/s", burst = 50 }
//!
//! [slices.functions]              # whose its rows are; `strangler db` writes this
//! ```

use std::{collections::BTreeMap, sync::Arc};

use comparison::Selector;
use layered_config::{Problems, Report};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    pins::{MAX_KEY_BYTES, MAX_PINS, Pins},
    ramp_record::{RampRecord, RawRamp},
    slice_state::{DataStage, RawSlice, check_running},
    weight::{Weight, WeightProblem},
};
use crate::{
    decision::Side,
    limit::{Limit, LiveLimits, MAX_BURST, Policies, Policy, Quota, Rate},
    route_table::{RouteId, RouteTable, SliceId},
};

/// The most overrides that one policy may have.
pub const MAX_OVERRIDES: usize = 10_000;

/// The most places of one route at which differences are ignored.
pub const MAX_IGNORED: usize = 64;

/// What the document says about a route's weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The share of keys on the candidate.
    pub weight: Weight,
    /// The epoch, where the document gives one.
    pub epoch: Option<u64>,
    /// The share that is shadowed.
    pub shadow: Weight,
}

/// The document, checked against the routes and the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutDocument {
    entries: BTreeMap<RouteId, (Entry, Arc<Pins>)>,
    ramps: BTreeMap<RouteId, RampRecord>,
    ignored: BTreeMap<RouteId, Arc<[Selector]>>,
    limits: Arc<LiveLimits>,
    slices: BTreeMap<SliceId, DataStage>,
}

/// What is running, which a document may not contradict.
pub(crate) trait Running {
    /// A route's epoch, below which no document goes.
    fn epoch(&self, route: RouteId) -> Option<u64>;
    /// How far a slice has come.
    fn stage(&self, slice: SliceId) -> Option<DataStage>;
}

/// Only epochs are known.
struct Epochs<F>(F);

impl<F: Fn(RouteId) -> Option<u64>> Running for Epochs<F> {
    fn epoch(&self, route: RouteId) -> Option<u64> {
        self.0(route)
    }

    fn stage(&self, _: SliceId) -> Option<DataStage> {
        None
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawDocument {
    /// Routes that move, by name; those that are not here serve by legacy.
    #[serde(default)]
    routes: BTreeMap<String, RawEntry>,
    /// Limit policies that allow something else than the gateway's settings say, by name.
    #[serde(default)]
    limits: BTreeMap<String, RawLimit>,
    /// Slices and whose their rows are. `strangler db` writes this.
    #[serde(default)]
    slices: BTreeMap<String, RawSlice>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    /// The share of keys on the candidate: 0 to 100, two decimals at most.
    percent: f64,
    /// Raised by each rollback. A document with an older one was written before it, and is refused.
    epoch: Option<u64>,
    /// The share of keys or requests whose copy goes to the other side.
    #[serde(default)]
    shadow: f64,
    /// Keys that go to a side whatever the percentage. A rollback removes those on the candidate.
    #[serde(default)]
    pins: BTreeMap<String, Side>,
    /// Where its ramp stands; the gateway writes this.
    ramp: Option<RawRamp>,
    /// Places where the answers of the two sides may differ, such as `$.items[*].at`.
    #[serde(default)]
    shadow_ignore: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawLimit {
    /// How fast used budget comes back; the configured rate unless given.
    rate: Option<Rate>,
    /// How many requests may come at once.
    burst: Option<u32>,
    /// What single keys are allowed instead.
    #[serde(default)]
    overrides: BTreeMap<String, RawQuota>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawQuota {
    /// How fast used budget comes back.
    rate: Rate,
    /// How many requests may come at once; one second of the rate unless given.
    burst: Option<u32>,
}

impl RolloutDocument {
    /// JSON Schema of the document, for editors.
    #[must_use]
    pub fn schema() -> String {
        layered_config::schema::<RawDocument>("rollout document of a gateway")
    }

    /// Reads and checks a document. `running` gives each route's running epoch, below which a
    /// document cannot go: such a document was written before a rollback and would undo it.
    ///
    /// # Errors
    /// Every problem in it, each with its line and how to mend it.
    pub fn parse(
        name: &str,
        text: &str,
        parts: (&RouteTable, &Policies),
        running: impl Fn(RouteId) -> Option<u64>,
    ) -> Result<Self, Problems> {
        Self::parse_beside(name, text, parts, &Epochs(running))
    }

    /// As [`RolloutDocument::parse`]; nor may the document give a slice another owner than the running one.
    pub(crate) fn parse_beside(
        name: &str,
        text: &str,
        (routes, policies): (&RouteTable, &Policies),
        running: &impl Running,
    ) -> Result<Self, Problems> {
        let check = |raw: &RawDocument, report: &mut Report| {
            check_routes(raw, routes, running, report);
            check_slices(raw, routes, running, report);
            check_limits(raw, policies, report);
        };
        let raw: RawDocument = layered_config::load_str_with(name, text, check)?;
        let entries = raw.routes.iter().filter_map(|(name, entry)| {
            let weight = Weight::from_percent(entry.percent).ok()?;
            let pins: Pins = entry.pins.iter().map(|(key, side)| (key.as_str(), *side)).collect();
            let entry = Entry { weight, epoch: entry.epoch, shadow: Weight::from_percent(entry.shadow).ok()? };
            Some((routes.by_name(name)?, (entry, Arc::new(pins))))
        });
        let ramps =
            raw.routes.iter().filter_map(|(name, entry)| Some((routes.by_name(name)?, entry.ramp.as_ref()?.record()?)));
        let ramps = ramps.collect();
        let ignored = raw.routes.iter().filter_map(|(name, entry)| {
            let selectors = entry.shadow_ignore.iter().filter_map(|path| Selector::parse(path).ok());
            Some((routes.by_name(name)?, selectors.collect()))
        });
        let mut limits = LiveLimits::configured(policies);
        for (name, raw) in &raw.limits {
            if let Some(id) = policies.by_name(name) {
                limits.set(id, raw.limit(policies.get(id)));
            }
        }
        let slices = raw.slices.iter().filter_map(|(name, slice)| Some((routes.slice_by_name(name)?, slice.stage)));
        let (entries, ignored, slices) = (entries.collect(), ignored.collect(), slices.collect());
        Ok(Self { entries, ramps, ignored, limits: Arc::new(limits), slices })
    }

    /// What the document says about a route's weight.
    #[must_use]
    pub fn get(&self, route: RouteId) -> Option<Entry> {
        self.entries.get(&route).map(|(entry, _)| *entry)
    }

    /// The keys of a route that the document pins.
    #[must_use]
    pub fn pins(&self, route: RouteId) -> Arc<Pins> {
        self.entries.get(&route).map(|(_, pins)| pins.clone()).unwrap_or_default()
    }

    /// A route's ramp, if there is one or was one.
    #[must_use]
    pub fn ramp(&self, route: RouteId) -> Option<&RampRecord> {
        self.ramps.get(&route)
    }

    /// Where the answers of a route's two sides may differ.
    #[must_use]
    pub fn ignored(&self, route: RouteId) -> Arc<[Selector]> {
        self.ignored.get(&route).cloned().unwrap_or_default()
    }

    /// How far a slice has come.
    #[must_use]
    pub fn stage(&self, slice: SliceId) -> DataStage {
        self.slices.get(&slice).copied().unwrap_or_default()
    }

    /// What every policy allows when the document is in force.
    #[must_use]
    pub fn limits(&self) -> Arc<LiveLimits> {
        self.limits.clone()
    }
}

impl RawLimit {
    /// Where neither is given, or just the burst, the rate is the configured one.
    fn quota(&self, policy: &Policy) -> Option<Quota> {
        match (self.rate, self.burst) {
            (None, None) => Some(policy.quota),
            (rate, burst) => Quota::new(rate.unwrap_or(policy.quota.rate), burst).ok(),
        }
    }

    fn limit(&self, policy: &Policy) -> Limit {
        let overrides = self.overrides.iter();
        Limit {
            quota: self.quota(policy).unwrap_or(policy.quota),
            overrides: overrides
                .filter_map(|(key, raw)| Some((key.as_str().into(), Quota::new(raw.rate, raw.burst).ok()?)))
                .collect(),
        }
    }
}

fn check_routes(raw: &RawDocument, routes: &RouteTable, running: &impl Running, report: &mut Report) {
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
        check_percent(&key(".percent"), entry.percent, report);
        check_percent(&key(".shadow"), entry.shadow, report);
        if entry.shadow > 0.0 && !routes.get(id).shadowed {
            let fix = "remove it, or add a table [routes.shadow] to the route in the gateway's configuration";
            report.problem(&key(".shadow"), format!("route `{name}` has no settings for shadowing"), fix);
        }
        if let (Some(written), Some(running)) = (entry.epoch, running.epoch(id))
            && written < running
        {
            let message = format!("epoch {written} is older than the running epoch {running}: it predates a rollback");
            report.problem(&key(".epoch"), message, format!("look at the weight again, then write epoch = {running}"));
        }
        let owned = routes.get(id).slice.as_ref().map(|slice| routes.slice(slice.id));
        if let Some(slice) = owned
            && entry.percent < 100.0
            && raw.slices.get(&slice.name).is_some_and(|raw| raw.stage.owner() == Side::Candidate)
        {
            let message =
                format!("the rows of slice `{}` are the candidate's, so it serves all of the route", slice.name);
            let fix = format!("write percent = 100; `strangler db rollback {}` takes the rows back", slice.name);
            report.problem(&key(".percent"), message, fix);
        }
        if let Some(ramp) = &entry.ramp {
            ramp.check(&key(".ramp"), report);
        }
        check_ignored(&key(".shadow_ignore"), &entry.shadow_ignore, report);
        check_keys(&key(".pins"), &entry.pins, MAX_PINS, report);
    }
}

fn check_slices(raw: &RawDocument, routes: &RouteTable, running: &impl Running, report: &mut Report) {
    for (name, slice) in &raw.slices {
        let key = format!("slices.{}", toml_key(name));
        match routes.slice_by_name(name) {
            Some(id) => slice.check(&key, running.stage(id), report),
            None => {
                let known: Vec<&str> = routes.slices().map(|(_, slice)| slice.name.as_str()).collect();
                let fix = match known.as_slice() {
                    [] => format!("add [slices.{name}] to the gateway's configuration, or remove it"),
                    known => format!("correct or remove it; slices: {}", known.join(", ")),
                };
                report.problem(&key, format!("there is no slice `{name}`"), fix);
            }
        }
    }
    for (id, slice) in routes.slices().filter(|(_, slice)| !raw.slices.contains_key(&slice.name)) {
        check_running(&format!("slices.{}", toml_key(&slice.name)), DataStage::default(), running.stage(id), report);
    }
}

fn check_ignored(key: &str, paths: &[String], report: &mut Report) {
    if paths.len() > MAX_IGNORED {
        let message = format!("{} places are more than the {MAX_IGNORED} there may be", paths.len());
        report.problem(key, message, "say more with one path, such as $..updatedAt, or write rules in the settings");
    }
    for (index, path) in paths.iter().enumerate() {
        if let Err(problem) = Selector::parse(path) {
            let fix = "write a path such as $.items[*].id, $..updatedAt or headers['etag']";
            report.problem(&format!("{key}[{index}]"), problem.to_string(), fix);
        }
    }
}

fn check_percent(key: &str, percent: f64, report: &mut Report) {
    if let Err(problem) = Weight::from_percent(percent) {
        let fix = match problem {
            WeightProblem::OutOfRange => "write a number from 0 to 100, such as 10 or 0.5".to_owned(),
            WeightProblem::TooFine => format!("round it to two decimals: {percent:.2}"),
        };
        report.problem(key, problem.to_string(), fix);
    }
}

fn check_limits(raw: &RawDocument, policies: &Policies, report: &mut Report) {
    for (name, limit) in &raw.limits {
        let key = |field: &str| format!("limits.{}{field}", toml_key(name));
        let Some(id) = policies.by_name(name) else {
            let known: Vec<&str> = policies.iter().map(|(_, policy)| policy.name.as_str()).collect();
            let fix = match known.as_slice() {
                [] => format!("add [limits.policies.{name}] to the gateway's configuration, or remove it"),
                known => format!("correct or remove it; policies: {}", known.join(", ")),
            };
            report.problem(&key(""), format!("there is no limit policy `{name}`"), fix);
            continue;
        };
        let fix = format!("write a number from 1 to {MAX_BURST}, or leave it out for one second of the rate");
        if limit.quota(policies.get(id)).is_none() {
            report.problem(&key(".burst"), "the burst is 0 or too large", fix.as_str());
        }
        for (subject, raw) in &limit.overrides {
            if Quota::new(raw.rate, raw.burst).is_err() {
                let key = key(&format!(".overrides.{}.burst", toml_key(subject)));
                report.problem(&key, "the burst is 0 or too large", fix.as_str());
            }
        }
        check_keys(&key(".overrides"), &limit.overrides, MAX_OVERRIDES, report);
    }
}

/// Keys of pins and overrides come from the network in the end, so they have bounds.
fn check_keys<T>(table: &str, keys: &BTreeMap<String, T>, most: usize, report: &mut Report) {
    if keys.len() > most {
        let fix = "remove those that are over, or move the keys together by the route's weight or the policy's rate";
        report.problem(table, format!("{} entries are more than the {most} there may be", keys.len()), fix);
    }
    for key in keys.keys().filter(|key| key.is_empty() || key.len() > MAX_KEY_BYTES) {
        let at = format!("{table}.{}", toml_key(key));
        report.problem(&at, "it cannot be the key of a request", format!("write 1 to {MAX_KEY_BYTES} bytes"));
    }
}

fn split_routes(routes: &RouteTable) -> impl Iterator<Item = &str> {
    routes.iter().filter(|(_, route)| route.sides.is_split()).map(|(_, route)| route.name.as_str())
}

/// A name as a report takes it. Names of routes are checked to be bare keys, but a document may name
/// anything; without its quotes such a name is found by its table.
fn toml_key(name: &str) -> String {
    format!("\"{}\"", name.replace('"', ""))
}
