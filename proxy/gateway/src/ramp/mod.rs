//! Guards of routes and the ramps they judge.
//!
//! The **guard** sits in the request path: [`Ramps::request_ended`] takes in every request of a route
//! that has one, and the one request too many sends the route back to legacy in the same call, by one
//! swap ([`Control::take_back`]); writing that down is left to the conductor, which is woken.
//!
//! The **conductor** raises weights step by step, as `judgement` decides, and renews the lease that
//! keeps the weight of an unproven step in force. Of several gateways one conducts, whichever has the
//! lease; all of them guard, each by what it has seen itself.

mod commands;
mod conductor;
mod duty;
mod gates;
mod judge;
mod metrics;
mod route_guard;
mod sample;
mod shown;

use std::sync::Arc;

use judgement::{Bounds, Evidence, RampPlan, Verdict};
use prometheus::Registry;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

pub(crate) use commands::{Command, CommandError};
pub(crate) use conductor::Conductor;
pub(crate) use judge::Judge;
pub(crate) use sample::Observed;
pub(crate) use shown::{Showing, Shown};

use crate::{
    config::{Config, RampGateConfig},
    control::{Authorship, Control},
    rollout::Weight,
    route_table::{RouteId, RouteTable},
};
use metrics::RampMetrics;
use route_guard::RouteGuard;

/// The guards and plans of all routes.
pub(crate) struct Ramps {
    routes: Box<[Option<Arc<RouteRamp>>]>,
    wake: Notify,
}

/// The guard of a route, and its plan if it has one.
pub(crate) struct RouteRamp {
    pub(crate) id: RouteId,
    pub(crate) name: String,
    pub(crate) plan: Option<Plan>,
    pub(crate) guard: RouteGuard,
    pub(crate) showing: Showing,
    metrics: RampMetrics,
}

/// A plan, and what tells it from any other.
pub(crate) struct Plan {
    pub(crate) plan: RampPlan,
    pub(crate) hash: String,
    pub(crate) gates: Vec<RampGateConfig>,
}

impl Ramps {
    /// The guards and plans of a configuration that has been checked.
    pub(crate) fn new(config: &Config, table: &RouteTable, registry: &Registry) -> prometheus::Result<Self> {
        let families = metrics::Families::register(registry)?;
        let mut routes: Box<[Option<Arc<RouteRamp>>]> = table.iter().map(|_| None).collect();
        for route in &config.routes {
            let (Some(id), true) = (table.by_name(&route.name), route.guard.is_some() || route.ramp.is_some()) else {
                continue;
            };
            let bounds = route.guard.as_ref().map_or_else(Bounds::default, |guard| guard.bounds());
            routes[id.index()] = Some(Arc::new(RouteRamp {
                id,
                name: route.name.clone(),
                plan: route.ramp.as_ref().map(|ramp| Plan::new(ramp.plan(), ramp.gates.clone())),
                guard: RouteGuard::new(bounds),
                showing: Showing::default(),
                metrics: families.of(&route.name),
            }));
        }
        Ok(Self { routes, wake: Notify::new() })
    }

    /// The guard and plan of a route.
    pub(crate) fn get(&self, route: RouteId) -> Option<&Arc<RouteRamp>> {
        self.routes[route.index()].as_ref()
    }

    /// All there are.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<RouteRamp>> {
        self.routes.iter().flatten()
    }

    /// Takes in how a request ended. If it was one too many, its route is back on legacy when this
    /// returns.
    pub(crate) fn request_ended(&self, control: &Control, route: RouteId, ended: &Observed<'_>) {
        let Some(ramp) = self.get(route) else { return };
        let now = control.snapshot().get(route);
        // Where no weight is in force, there is nothing to take back.
        if now.weight == Weight::NONE {
            return;
        }
        if let Some(reason) = ramp.guard.request_ended(ended, now.epoch) {
            self.roll_back(control, ramp, &reason);
        }
    }

    /// Takes in whether the answers of both sides to a request differed.
    pub(crate) fn compared(&self, control: &Control, route: RouteId, shape: Option<u64>, different: bool) {
        let Some(ramp) = self.get(route) else { return };
        let now = control.snapshot().get(route);
        if let Some(shape) = shape {
            ramp.guard.covered(shape, now.epoch);
        }
        // A difference found before any traffic is for the report, and no reason to roll back.
        if now.weight == Weight::NONE {
            return;
        }
        if let Some(reason) = ramp.guard.compared(different, now.epoch) {
            self.roll_back(control, ramp, &reason);
        }
    }

    fn roll_back(&self, control: &Control, ramp: &RouteRamp, reason: &str) {
        ramp.metrics.rolled_back();
        control.take_back(&[ramp.id], &Authorship::new("guard", reason, "guard"));
        self.wake.notify_one();
    }
}

impl RouteRamp {
    /// What the guard has seen here.
    pub(crate) fn evidence(&self) -> Evidence {
        self.guard.evidence()
    }

    /// What the guard says here, in words.
    pub(crate) fn verdict(&self) -> String {
        match self.guard.standing(0, 1).verdict {
            Verdict::NoData => "no data".to_owned(),
            Verdict::Continue => "continue".to_owned(),
            Verdict::RollBack(reason) => format!("roll back: {reason}"),
        }
    }
}

impl Plan {
    fn new(plan: RampPlan, gates: Vec<RampGateConfig>) -> Self {
        // The form of `Debug` is this build's own; a gateway of another version takes the plan for
        // another, and the ramp pauses, which is right.
        let form = format!("{plan:?} {gates:?}");
        let hash = hex::encode(&Sha256::digest(form.as_bytes())[..8]);
        Self { plan, hash, gates }
    }
}
