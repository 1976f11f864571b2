//! The state that decisions are made from: immutable, and replaced as a whole.

use std::{collections::BTreeSet, sync::Arc};

use comparison::Selector;

use super::{document::RolloutDocument, pins::Pins, ramp_record::Ramping, slice_state::DataStage, weight::Weight};
use crate::{
    decision::Side,
    limit::{LiveLimits, Policies},
    route_table::{RouteId, RouteTable, SliceId},
};

/// The epoch of a route that was never rolled back.
const FIRST_EPOCH: u64 = 1;

/// The live state of one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteState {
    /// The share of keys on the candidate.
    pub weight: Weight,
    /// Bumped by a rollback. A decision of another epoch is void.
    pub epoch: u64,
    /// The rows of the route's slice are the candidate's, so it serves all of the route.
    pub moved: bool,
}

/// The live state of every route and every limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    revision: u64,
    parts: Parts,
}

/// What there is besides the number. Pins and limits are shared from one state to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    routes: Box<[RouteState]>,
    /// The share of each route that is shadowed.
    shadows: Box<[Weight]>,
    /// Where the answers of each route's two sides may differ.
    ignored: Box<[Arc<[Selector]>]>,
    pins: Box<[Arc<Pins>]>,
    limits: Arc<LiveLimits>,
    ramps: Box<[Option<Arc<Ramping>>]>,
    stages: Box<[DataStage]>,
    /// The slice of each route, which does not change.
    slices: Arc<[Option<SliceId>]>,
}

impl Snapshot {
    /// Everything on legacy, and limits as configured.
    #[must_use]
    pub fn initial(table: &RouteTable, policies: &Policies) -> Self {
        let state = RouteState { weight: Weight::NONE, epoch: FIRST_EPOCH, moved: false };
        let parts = Parts {
            routes: vec![state; table.len()].into(),
            shadows: vec![Weight::NONE; table.len()].into(),
            ignored: vec![Arc::default(); table.len()].into(),
            pins: vec![Arc::default(); table.len()].into(),
            limits: Arc::new(LiveLimits::configured(policies)),
            ramps: vec![None; table.len()].into(),
            stages: vec![DataStage::default(); table.slices().len()].into(),
            slices: table.iter().map(|(_, route)| route.slice.as_ref().map(|slice| slice.id)).collect(),
        };
        Self { revision: 0, parts }
    }

    /// What comes after this when the document is in force. A route it does not name has no share
    /// on the candidate and no pins; an epoch it does not give, or gives too low, stays as it is; the
    /// routes in `except` stay as they are altogether. `held` says of which routes the lease of a ramp
    /// is held here: others have the last proven weight.
    #[must_use]
    pub fn with_document(
        &self,
        document: &RolloutDocument,
        except: &BTreeSet<RouteId>,
        held: impl Fn(RouteId) -> bool,
    ) -> Self {
        let mut parts = self.parts.clone();
        for index in (0..parts.routes.len()).filter(|index| !except.contains(&RouteId(*index))) {
            let (id, now) = (RouteId(index), self.parts.routes[index]);
            parts.routes[index] = match document.get(id) {
                None => RouteState { weight: Weight::NONE, ..now },
                Some(entry) => {
                    let epoch = entry.epoch.unwrap_or(now.epoch).max(now.epoch);
                    RouteState { weight: entry.weight, epoch, ..now }
                }
            };
            parts.shadows[index] = document.get(id).map_or(Weight::NONE, |entry| entry.shadow);
            parts.ignored[index] = document.ignored(id);
            parts.pins[index] = document.pins(id);
            parts.ramps[index] = document.ramp(id).map(|record| {
                let ramping = Ramping { record: record.clone(), asked: parts.routes[index].weight };
                parts.routes[index].weight = ramping.in_force(held(id));
                Arc::new(ramping)
            });
        }
        parts.limits = document.limits();
        for (index, stage) in parts.stages.iter_mut().enumerate() {
            *stage = document.stage(SliceId(index));
        }
        // Those of a rollback that the document does not have yet, too: it never takes rows back.
        for (state, slice) in parts.routes.iter_mut().zip(parts.slices.iter()) {
            state.moved = slice.is_some_and(|slice| parts.stages[slice.0].owner() == Side::Candidate);
        }
        Self { revision: self.revision, parts }
    }

    /// This with the lease of a route's ramp held or not; `None` where that makes no difference.
    #[must_use]
    pub fn with_lease(&self, route: RouteId, held: bool) -> Option<Self> {
        let weight = self.ramp(route)?.in_force(held);
        let mut next = self.clone();
        next.parts.routes[route.0].weight = weight;
        (next != *self).then_some(next)
    }

    /// This with epochs no lower than those given.
    #[must_use]
    pub fn with_epochs(mut self, least: impl Fn(RouteId) -> Option<u64>) -> Self {
        for (index, state) in self.parts.routes.iter_mut().enumerate() {
            state.epoch = state.epoch.max(least(RouteId(index)).unwrap_or(FIRST_EPOCH));
        }
        self
    }

    /// This as the state of a revision of the document.
    #[must_use]
    pub fn at_revision(mut self, revision: u64) -> Self {
        self.revision = revision;
        self
    }

    /// What comes after this when these routes are back on legacy: no weight, no pin to the candidate.
    #[must_use]
    pub fn rolled_back(&self, routes: &[RouteId]) -> Self {
        let mut parts = self.parts.clone();
        for route in routes {
            let state = &mut parts.routes[route.0];
            *state = RouteState { weight: Weight::NONE, epoch: state.epoch + 1, ..*state };
            let pins = &mut parts.pins[route.0];
            *pins = Arc::new(pins.after_rollback());
            parts.ramps[route.0] = None;
        }
        Self { revision: self.revision, parts }
    }

    /// The revision of the document that is in force; 0 before the first. It is the same in all
    /// gateways of one store. A rollback is in force before it has a revision of its own.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The state of a route.
    #[must_use]
    pub fn get(&self, route: RouteId) -> RouteState {
        self.parts.routes[route.0]
    }

    /// The share of a route's keys or requests whose copy goes to the other side, whichever side serves.
    #[must_use]
    pub fn shadow(&self, route: RouteId) -> Weight {
        self.parts.shadows[route.0]
    }

    /// Where the answers of a route's two sides may differ, besides what its rules say.
    #[must_use]
    pub fn shadow_ignored(&self, route: RouteId) -> &Arc<[Selector]> {
        &self.parts.ignored[route.0]
    }

    /// The pinned keys of a route.
    #[must_use]
    pub fn pins(&self, route: RouteId) -> &Pins {
        &self.parts.pins[route.0]
    }

    /// The ramp of a route, under way or ended. None from a rollback on until the document has it.
    #[must_use]
    pub fn ramp(&self, route: RouteId) -> Option<&Arc<Ramping>> {
        self.parts.ramps[route.0].as_ref()
    }

    /// How far a slice has come.
    #[must_use]
    pub fn stage(&self, slice: SliceId) -> DataStage {
        self.parts.stages[slice.0]
    }

    /// What every policy allows.
    #[must_use]
    pub fn limits(&self) -> &LiveLimits {
        &self.parts.limits
    }
}
