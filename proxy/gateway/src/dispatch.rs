//! Which upstream and address a request is sent to, and what happens when it cannot be.
//!
//! Decided for each try, because much may have changed since the last: the route's epoch, the addresses,
//! how loaded they are.

use std::time::Instant;

use pingora::{Error, ErrorType, Result, upstreams::peer::HttpPeer};

use crate::{
    decision::RouteDecision,
    gateway::Gateway,
    request_context::{GaugeGuard, RequestContext},
    upstream::Unavailable,
};

impl Gateway {
    /// Begins the next try to serve a request: the first, or another after one that failed.
    pub(crate) fn next_attempt(&self, ctx: &mut RequestContext) -> Result<Box<HttpPeer>> {
        // A repeated attempt sends the body from its start.
        ctx.body_bytes = 0;
        ctx.kept_body_sent = false;
        ctx.superseded = false;
        ctx.upstream_chosen = Some(Instant::now());
        // The one before has ended, whatever comes now.
        ctx.attempt = None;
        loop {
            let Some(routed) = &mut ctx.routed else {
                return Error::e_explain(ErrorType::InternalError, "a request without a route goes nowhere");
            };
            let route = self.control.table().get(routed.route);
            let snapshot = self.control.snapshot();
            let state = snapshot.get(routed.route);
            if !routed.decision.is_current(state) {
                let pin = routed.key.as_deref().and_then(|key| snapshot.pins(routed.route).get(key));
                routed.decision = RouteDecision::new(route, state, pin, routed.bucket);
            }
            match self.upstreams.get(routed.decision.upstream).begin(&ctx.tried) {
                Ok(attempt) => {
                    let gauge = self.metrics.in_flight(routed.route, routed.decision.side);
                    routed.side_in_flight = Some(GaugeGuard::new(gauge));
                    let mut peer = attempt.peer();
                    ctx.attempt = Some(attempt);
                    route.limits.apply(&mut peer.options, ctx.arrived.elapsed())?;
                    return Ok(Box::new(peer));
                }
                Err(why) if !self.fall_back(ctx, why) => {
                    return Error::e_explain(ErrorType::ConnectNoRoute, "the upstream takes no request");
                }
                Err(_) => {}
            }
        }
    }

    /// Notes that the address could not be connected to. `true` when there is another to try.
    pub(crate) fn connect_failed(&self, ctx: &mut RequestContext, error: &Error) -> bool {
        if let Some(attempt) = ctx.attempt.take() {
            attempt.connect_failed(error);
            self.metrics.connect_failed(attempt.upstream());
            ctx.tried.push(attempt.address());
            if self.upstreams.get(attempt.upstream()).has_other_than(&ctx.tried) {
                return true;
            }
        }
        self.fall_back(ctx, Unavailable::Unreachable)
    }

    /// Decides for legacy where the candidate takes no request and the route allows it. `false` when
    /// there is nowhere to go.
    fn fall_back(&self, ctx: &mut RequestContext, why: Unavailable) -> bool {
        let Some(routed) = &mut ctx.routed else { return false };
        let upstream = routed.decision.upstream;
        let route = self.control.table().get(routed.route);
        let allowed = route.resilience.fallback_on.contains(why);
        let Some(fallback) = allowed.then(|| routed.decision.fall_back(route)).flatten() else {
            ctx.unavailable = Some((upstream, why));
            return false;
        };
        tracing::debug!(
            request_id = %ctx.request_id, route = %route.name, upstream = %self.upstreams.get(upstream).name, ?why,
            "candidate unavailable, falling back to legacy"
        );
        self.metrics.fell_back(routed.route);
        routed.decision = fallback;
        ctx.tried.clear();
        true
    }
}
