//! What shadowing has found, for people: counters, masks, mismatches.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use comparison::{Kind, Mask, RuleConfig, RulesConfig};
use serde::Serialize;

use super::{Shadow, outcome::Outcome, shadowed_route::ShadowedRoute, store::Mismatches};
use crate::{
    rollout::{Snapshot, Weight},
    route_table::RouteId,
};

/// One route that can be shadowed, and what came of it in this process.
#[derive(Debug, Serialize)]
pub(crate) struct RouteReport {
    pub(crate) route: String,
    /// The share that is shadowed.
    percent: Weight,
    outcomes: Vec<OutcomeCount>,
    /// The share of compared requests whose answers differed, from 0 to 1; `None` before the first.
    mismatch_rate: Option<f64>,
    /// Places that were ignored since the gateway was configured.
    ignored: Vec<String>,
    noise: NoiseReport,
}

#[derive(Debug, Serialize)]
struct OutcomeCount {
    outcome: &'static str,
    reason: &'static str,
    requests: u64,
}

/// What legacy answers differently from itself.
#[derive(Debug, Serialize)]
struct NoiseReport {
    /// Requests that legacy got twice.
    pairs: u64,
    masks: Vec<MaskReport>,
    /// Noise that is not masked: more of the answers than the cap allows would be hidden.
    over_cap: Vec<MaskReport>,
    /// Times that a path found no room to be learnt.
    crowded: u64,
}

#[derive(Debug, Serialize)]
struct MaskReport {
    path: String,
    kind: Kind,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    seen: u32,
    noisy: u32,
    rate_at_least: f64,
}

impl MaskReport {
    fn of(mask: &Mask) -> Self {
        Self {
            path: mask.cluster.path.to_string(),
            kind: mask.cluster.kind,
            since: mask.since.into(),
            until: mask.until.into(),
            seen: mask.seen,
            noisy: mask.noisy,
            rate_at_least: mask.rate_at_least,
        }
    }
}

impl Shadow {
    /// Every route that can be shadowed.
    pub(crate) fn report(&self, snapshot: &Snapshot) -> Vec<RouteReport> {
        let routes = self.routes.iter().enumerate();
        routes.filter_map(|(id, route)| Some(route.as_ref()?.report(RouteId(id), snapshot))).collect()
    }

    /// The rules that answers of a route are compared by now, as they could be written.
    pub(crate) fn rules(&self, route: RouteId, snapshot: &Snapshot) -> Option<RulesConfig> {
        let mut rules = self.routes[route.index()].as_ref()?.rules_config.clone();
        let ignored = snapshot.shadow_ignored(route).iter();
        rules.rules.extend(ignored.map(|selector| RuleConfig::ignore(selector.to_string())));
        Some(rules)
    }

    /// What was kept.
    pub(crate) fn mismatches(&self) -> &Mismatches {
        &self.shared.mismatches
    }
}

impl ShadowedRoute {
    fn report(&self, id: RouteId, snapshot: &Snapshot) -> RouteReport {
        let outcomes = Outcome::all().map(|outcome| {
            let [name, reason] = outcome.labels();
            OutcomeCount { outcome: name, reason, requests: self.metrics.counted(outcome) }
        });
        let compared = Outcome::all().filter(|outcome| outcome.differed().is_some());
        let compared: u64 = compared.map(|outcome| self.metrics.counted(outcome)).sum();
        let different = self.metrics.counted(Outcome::Different);
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
        let mismatch_rate = (compared > 0).then(|| different as f64 / compared as f64);
        RouteReport {
            route: self.name.clone(),
            percent: snapshot.shadow(id),
            outcomes: outcomes.filter(|counted| counted.requests > 0).collect(),
            mismatch_rate,
            ignored: snapshot.shadow_ignored(id).iter().map(ToString::to_string).collect(),
            noise: self.noise_report(),
        }
    }

    fn noise_report(&self) -> NoiseReport {
        let masks = self.noise.masks(SystemTime::now());
        let (pairs, crowded) = self.noise.learnt();
        NoiseReport {
            pairs,
            masks: masks.applied().iter().map(MaskReport::of).collect(),
            over_cap: masks.over_cap().iter().map(MaskReport::of).collect(),
            crowded,
        }
    }
}
