//! One route that can be shadowed, with what its copies are made and compared by.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use comparison::{NoiseSettings, Rules, RulesConfig};

use super::{
    finished::MismatchLog,
    metrics::{Families, RouteMetrics},
    noise::Noise,
    rest::Rest,
    sampling::Sampling,
};
use crate::{
    config::{RouteShadowConfig, ShadowConfig},
    decision::Side,
    ramp::Judge,
    rollout::Snapshot,
    route_table::{Route, RouteId, Sides, UpstreamId},
};

/// See the module.
pub(super) struct ShadowedRoute {
    pub(super) id: RouteId,
    pub(super) name: String,
    /// Of the path.
    pub(super) template: String,
    /// Whether the guard wants to know the shapes of requests.
    pub(super) wants_shapes: bool,
    pub(super) legacy: UpstreamId,
    pub(super) candidate: UpstreamId,
    pub(super) sampling: Sampling,
    pub(super) body_limit: usize,
    pub(super) timeout: Duration,
    pub(super) rules: Rules,
    /// What `rules` was made of.
    pub(super) rules_config: RulesConfig,
    pub(super) noise: Noise,
    pub(super) mismatches: MismatchLog,
    pub(super) metrics: Arc<RouteMetrics>,
    /// Of legacy and the candidate, as sides that get copies.
    rests: [Rest; 2],
}

impl ShadowedRoute {
    /// A route by its own settings and those of all; nothing where it has one side only.
    pub(super) fn new(
        (id, route): (RouteId, &Route),
        config: &RouteShadowConfig,
        all: &ShadowConfig,
        judge: &Judge,
        families: &Families,
    ) -> Option<Self> {
        let Sides::Both { legacy, candidate, .. } = route.sides else { return None };
        let now = Instant::now();
        Some(Self {
            id,
            name: route.name.clone(),
            template: route.template.as_str().to_owned(),
            wants_shapes: judge.wants_shapes(id),
            legacy,
            candidate,
            sampling: Sampling::new(config, &route.salt),
            body_limit: config.body_limit.as_usize(),
            timeout: config.timeout.get(),
            rules: Rules::compile(&config.compare).ok()?,
            rules_config: config.compare.clone(),
            noise: Noise::new(NoiseSettings::default()),
            mismatches: MismatchLog::default(),
            metrics: Arc::new(families.of(&route.name)),
            rests: std::array::from_fn(|_| Rest::new(all.rest_after, all.rest.get(), now)),
        })
    }

    pub(super) fn upstream(&self, side: Side) -> UpstreamId {
        match side {
            Side::Legacy => self.legacy,
            Side::Candidate => self.candidate,
        }
    }

    /// Whether this side, as one that gets copies, is left alone.
    pub(super) fn rest(&self, side: Side) -> &Rest {
        &self.rests[side.index()]
    }

    /// The rules by now: those of the settings, and what was asked to be ignored since.
    pub(super) fn rules_now(&self, snapshot: &Snapshot) -> Cow<'_, Rules> {
        let ignored = snapshot.shadow_ignored(self.id);
        if ignored.is_empty() {
            return Cow::Borrowed(&self.rules);
        }
        Cow::Owned(ignored.iter().cloned().fold(self.rules.clone(), Rules::ignoring))
    }
}
