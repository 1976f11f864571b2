//! Where a finished shadow comparison meets the guard of its route.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use comparison::Shape;

use super::Ramps;
use crate::{control::Control, route_table::RouteId};

/// Takes in comparisons. Called off the request path.
pub(crate) struct Judge {
    ramps: Arc<Ramps>,
    control: Arc<Control>,
}

impl Judge {
    pub(crate) fn new(ramps: Arc<Ramps>, control: Arc<Control>) -> Self {
        Self { ramps, control }
    }

    /// Whether the route's ramp asks which shapes of requests were compared.
    pub(crate) fn wants_shapes(&self, route: RouteId) -> bool {
        self.ramps.get(route).and_then(|ramp| ramp.plan.as_ref()).is_some_and(|plan| plan.plan.coverage > 0.0)
    }

    /// A request of this shape was copied: it wants a comparison.
    pub(crate) fn copied(&self, route: RouteId, shape: &Shape) {
        if let Some(ramp) = self.ramps.get(route) {
            ramp.guard.copied(number(shape), self.control.snapshot().get(route).epoch);
        }
    }

    /// The answers to a request were compared. One difference too many takes the route back to legacy.
    pub(crate) fn compared(&self, route: RouteId, shape: Option<&Shape>, different: bool) {
        self.ramps.compared(&self.control, route, shape.map(number), different);
    }
}

fn number(shape: &Shape) -> u64 {
    let mut hasher = DefaultHasher::new();
    shape.hash(&mut hasher);
    hasher.finish()
}
