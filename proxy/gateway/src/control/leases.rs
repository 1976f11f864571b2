//! Leases of ramps: kept in the store beside the revisions, because a renewal is no change that
//! anybody wants to read about.

use judgement::Renewal;

use super::{Control, StoreError};
use crate::route_table::RouteId;

impl Control {
    /// The lease of a route's ramp, as the store has it.
    pub(crate) fn lease(&self, route: RouteId) -> Result<Option<Renewal>, StoreError> {
        self.writer().store.lease(&self.table().get(route).name)
    }

    /// Renews or takes over a lease that is as `before`. `false` when another came first.
    pub(crate) fn renew_lease(
        &self,
        route: RouteId,
        before: Option<Renewal>,
        next: Renewal,
    ) -> Result<bool, StoreError> {
        self.writer().store.renew_lease(&self.table().get(route).name, before, next)
    }

    /// Forgets the lease of a ramp that has ended or not begun.
    pub(crate) fn drop_lease(&self, route: RouteId) -> Result<(), StoreError> {
        self.writer().store.drop_lease(&self.table().get(route).name)
    }

    /// Whether the weight of an unproven step may be in force in this process. Until it is said, it is not.
    pub(crate) fn hold(&self, route: RouteId, held: bool) {
        if let Some((from, to)) = self.live.hold(route, held) {
            let route = &self.table().get(route).name;
            let (from_percent, to_percent) = (from.percent(), to.percent());
            if held {
                tracing::info!(%route, from_percent, to_percent, "the step of the ramp is in force");
            } else {
                tracing::warn!(%route, from_percent, to_percent, "no lease: the last proven weight is in force");
            }
        }
    }
}
