//! Which upstream and address a request is sent to, and what happens when it is not served there.
//!
//! Decided for each try, because much may have changed since the last: the route's epoch, the addresses,
//! how loaded they are, which of them fail. A try that failed is followed, in this order, by
//!
//! 1. another address of the same upstream, when this one could not be connected to: nothing was sent;
//! 2. legacy, when the candidate takes no requests and the route allows it;
//! 3. the same request again, as the route's `retries` say ([`crate::RetryPolicy`]);
//! 4. legacy, when the candidate was left meanwhile and the request may run twice ([`crate::recall`]);
//!
//! 1 and 3 within the upstream's retry budget, and all of them within `http.max_attempts`.

use std::{
    net::SocketAddr,
    os::fd::RawFd,
    time::{Duration, Instant},
};

use http::{Method, header};
use pingora::{
    Error, ErrorSource, ErrorType, Result, RetryType,
    http::{RequestHeader, ResponseHeader},
    protocols::Digest,
    proxy::Session,
    upstreams::peer::HttpPeer,
};

use crate::{
    decision::{RouteDecision, Side},
    gateway::Gateway,
    recall::{self, Place, WaitedOn},
    request_context::{GaugeGuard, RequestContext, Routed},
    resilience::{FailedTry, FailureKind},
    route_table::UpstreamId,
    upstream::{Attempt, Connection, Unavailable},
};

/// The gateway broke a try off by itself.
const BROKEN_OFF: ErrorType = ErrorType::Custom("TryBrokenOff");

/// The tries to serve a request.
#[derive(Default)]
pub(crate) struct Tries {
    /// The one that is going on.
    attempt: Option<Attempt>,
    /// Where it waits on the candidate for an answer, when legacy may be asked instead.
    waiting: Option<Place>,
    /// The addresses of its upstream where it failed.
    failed_at: Vec<SocketAddr>,
    /// How often it was repeated at its upstream.
    repeated: u32,
    /// How long to wait before the next.
    pause: Option<Duration>,
    /// Why the latest was broken off, and another follows.
    broken_off: Option<BrokenOff>,
    /// A request was sent, and nothing is known to have come of it.
    sent: bool,
    /// A part of an answer is with the client.
    pub(crate) answer_begun: bool,
    /// The upstream that took it no more, and why, once there was no other.
    pub(crate) unavailable: Option<(UpstreamId, Unavailable)>,
}

impl Tries {
    /// Whether a request was sent of which nobody knows what came of it.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.sent && !self.answer_begun
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BrokenOff {
    /// The decision for the candidate was made void before anything was sent.
    Superseded,
    /// The pooled connection had ended before anything was sent.
    StaleConnection,
    /// The answer is one after which the route repeats requests.
    Answer,
}

/// The connection for the next try, after one that ended so.
fn wanted_connection(request: &RequestHeader, broken_off: Option<BrokenOff>) -> Connection {
    if request.headers.contains_key(header::UPGRADE) {
        // No other upgrade is admitted.
        Connection::WebSocket
    } else if broken_off == Some(BrokenOff::StaleConnection) {
        // The rest of the pool may have ended too, and tries are few.
        Connection::New
    } else {
        Connection::Any
    }
}

impl Gateway {
    /// Begins the next try to serve a request: the first, or another after one that failed.
    pub(crate) async fn next_attempt(
        &self,
        request: &RequestHeader,
        ctx: &mut RequestContext,
    ) -> Result<Box<HttpPeer>> {
        // A repeated attempt sends the body from its start.
        ctx.body_bytes = 0;
        ctx.kept_body_sent = false;
        if let Some(shadow) = &mut ctx.shadow {
            shadow.attempt_begins();
        }
        // The one before has ended, whatever comes now. While it waits a request holds nobody's place.
        ctx.tries.attempt = None;
        ctx.tries.waiting = None;
        ctx.tries.unavailable = None;
        if let Some(routed) = &mut ctx.routed {
            routed.side_in_flight = None;
        }
        if let Some(pause) = ctx.tries.pause.take() {
            tokio::time::sleep(pause).await;
        }
        let broken_off = ctx.tries.broken_off.take();
        let now = Instant::now();
        ctx.upstream_chosen = Some(now);
        loop {
            let Some(routed) = &mut ctx.routed else {
                return Error::e_explain(ErrorType::InternalError, "a request without a route goes nowhere");
            };
            let snapshot = self.control.snapshot();
            let state = snapshot.get(routed.route);
            if !routed.decision.is_current(state) {
                let pin = routed.key.as_deref().and_then(|key| snapshot.pins(routed.route).get(key));
                routed.decision = RouteDecision::new(self.control.table().get(routed.route), state, pin, routed.bucket);
                ctx.tries.failed_at.clear();
            }
            let first = ctx.tries.repeated == 0 && broken_off.is_none();
            match self.upstreams.get(routed.decision.upstream).begin(&ctx.tries.failed_at, first, now) {
                Ok(attempt) => {
                    let gauge = self.metrics.in_flight(routed.route, routed.decision.side);
                    routed.side_in_flight = gauge.map(GaugeGuard::new);
                    let mut peer = attempt.peer(wanted_connection(request, broken_off));
                    ctx.tries.attempt = Some(attempt);
                    let route = self.control.table().get(routed.route);
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

    /// Notes that there is a connection.
    ///
    /// # Errors
    /// When it is one from the pool that has ended; the try is then repeated with a new one.
    pub(crate) fn connected(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
        (connection, digest): (RawFd, Option<&Digest>),
        reused: bool,
    ) -> Result<()> {
        let Some(attempt) = &ctx.tries.attempt else { return Ok(()) };
        if reused && attempt.has_ended(connection) {
            ctx.tries.broken_off = Some(BrokenOff::StaleConnection);
            return Error::e_explain(BROKEN_OFF, "the pooled connection had ended");
        }
        if !reused {
            attempt.connected();
        }
        if let Some(routed) = &ctx.routed
            && attempt.is_alone()
            && self.legacy_may_be_asked_too(session, routed)
            && let Some(connection) = WaitedOn::new(connection, digest)
        {
            ctx.tries.waiting = Some(self.control.recall().enter(routed.route, routed.bucket, connection));
        }
        Ok(())
    }

    /// Whether a request that waits on the candidate could as well be served by legacy.
    fn legacy_may_be_asked_too(&self, session: &mut Session, routed: &Routed) -> bool {
        let route = self.control.table().get(routed.route);
        if routed.decision.side != Side::Candidate || !route.sides.is_split() {
            return false;
        }
        let session = session.as_mut();
        let read_whole = session.is_body_done();
        let request = session.req_header();
        recall::may_run_twice(&request.method, &route.resilience)
            && recall::keeps_body(&request.headers, read_whole)
            && !session.retry_buffer_truncated()
    }

    /// Whether it does no harm that legacy carries out what the candidate may have carried out already.
    fn may_run_twice(&self, session: &Session, ctx: &RequestContext) -> bool {
        let resilience = |routed: &Routed| &self.control.table().get(routed.route).resilience;
        let method = &session.req_header().method;
        ctx.routed.as_ref().is_some_and(|routed| recall::may_run_twice(method, resilience(routed)))
    }

    /// Whether the candidate was left since the request was sent there.
    fn is_superseded(&self, ctx: &RequestContext) -> bool {
        let state = |routed: &Routed| self.control.snapshot().get(routed.route);
        ctx.routed.as_ref().is_some_and(|routed| !routed.decision.is_current(state(routed)))
    }

    /// Asks legacy for what the candidate was asked for when it was left.
    fn ask_legacy(&self, ctx: &mut RequestContext) {
        ctx.tries.broken_off = Some(BrokenOff::Superseded);
        ctx.tries.repeated = 0;
        if let Some(routed) = &ctx.routed {
            self.control.recall().asked_of_legacy(routed.route);
        }
    }

    /// Connecting took time. Nothing has been sent yet, so a rollback meanwhile still counts.
    ///
    /// # Errors
    /// When the decision is void; it is then made anew.
    pub(crate) fn before_sending(&self, ctx: &mut RequestContext) -> Result<()> {
        if self.is_superseded(ctx) {
            ctx.tries.waiting = None;
            ctx.tries.broken_off = Some(BrokenOff::Superseded);
            return Error::e_explain(BROKEN_OFF, "rolled back while connecting");
        }
        ctx.tries.sent = true;
        Ok(())
    }

    /// Notes that the address could not be connected to. `true` when there is another try.
    pub(crate) fn connect_failed(&self, session: &Session, ctx: &mut RequestContext, error: &Error) -> bool {
        let Some(mut attempt) = ctx.tries.attempt.take() else { return false };
        let now = Instant::now();
        attempt.connect_failed(error, now);
        self.metrics.connect_failed(attempt.upstream().id);
        if self.is_superseded(ctx) {
            // Nothing was sent, and there is somewhere else to go now.
            ctx.tries.broken_off = Some(BrokenOff::Superseded);
            return true;
        }
        ctx.tries.failed_at.push(attempt.address());
        if attempt.upstream().has_other_than(&ctx.tries.failed_at, now) && attempt.upstream().may_repeat(now) {
            ctx.tries.repeated += 1;
            return true;
        }
        self.fall_back(ctx, Unavailable::Unreachable) || self.repeats(&attempt, session, ctx, FailureKind::Connect, now)
    }

    /// Judges the header of an answer.
    ///
    /// # Errors
    /// When the request is repeated instead; nothing of the answer reaches the client.
    pub(crate) fn answer_arrived(
        &self,
        session: &Session,
        ctx: &mut RequestContext,
        answer: &ResponseHeader,
    ) -> Result<()> {
        if ctx.tries.waiting.take().is_some_and(Place::leave) {
            // Its connection was shut down before the rest of the answer is sure to be here.
            self.ask_legacy(ctx);
            return Err(Error::explain(BROKEN_OFF, "the candidate was left").into_up());
        }
        if answer.status.is_informational() && answer.status != http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        let now = Instant::now();
        ctx.upstream_latency = ctx.upstream_chosen.map(|chosen| now.duration_since(chosen));
        let Some(mut attempt) = ctx.tries.attempt.take() else { return Ok(()) };
        let failure = FailureKind::of_answer(answer.status.as_u16(), &answer.headers);
        attempt.ended(failure, now);
        let again = failure.is_some_and(|kind| self.repeats(&attempt, session, ctx, kind, now));
        if again {
            ctx.tries.failed_at.push(attempt.address());
            ctx.tries.broken_off = Some(BrokenOff::Answer);
            return Err(Error::explain(BROKEN_OFF, format!("answered with {}", answer.status)).into_up());
        }
        // In flight until the whole answer has passed.
        ctx.tries.attempt = Some(attempt);
        Ok(())
    }

    /// Judges an error after the connection was made. `true` when there is another try.
    pub(crate) fn try_failed(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
        error: &Error,
        reused: bool,
    ) -> bool {
        if ctx.tries.broken_off.is_some() {
            return true;
        }
        if ctx.tries.answer_begun || *error.esource() != ErrorSource::Upstream {
            return false;
        }
        let replayable = !session.as_ref().retry_buffer_truncated();
        if ctx.tries.waiting.take().is_some_and(Place::leave) && replayable {
            // By the gateway's own doing, which says nothing about the upstream.
            self.ask_legacy(ctx);
            return true;
        }
        if error.retry == RetryType::Decided(true) {
            // The upstream said that it has not looked at the request: an HTTP/2 stream that it refused, or
            // that came after its GOAWAY (RFC 9113, section 8.7).
            return replayable;
        }
        let gone_stale = reused && error.retry == RetryType::ReusedOnly;
        if gone_stale {
            // It ended between the look at it and the sending. What was sent may have arrived, so this is
            // for methods that may act twice only; and it says nothing about the upstream.
            return replayable && session.req_header().method.is_idempotent();
        }
        let Some(mut attempt) = ctx.tries.attempt.take() else { return false };
        let kind = match error.etype() {
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => FailureKind::Timeout,
            _ => FailureKind::Reset,
        };
        let now = Instant::now();
        // As long as the body is not through, it may be the client that was slow.
        if session.as_mut().is_body_done() {
            attempt.ended(Some(kind), now);
        }
        if replayable && self.is_superseded(ctx) && self.may_run_twice(session, ctx) {
            self.ask_legacy(ctx);
            return true;
        }
        if self.repeats(&attempt, session, ctx, kind, now) {
            ctx.tries.failed_at.push(attempt.address());
            return true;
        }
        false
    }

    /// Whether the route repeats the request after this failure, and the budget lets it; then prepares
    /// for it.
    fn repeats(
        &self,
        attempt: &Attempt,
        session: &Session,
        ctx: &mut RequestContext,
        kind: FailureKind,
        now: Instant,
    ) -> bool {
        let Some(routed) = &ctx.routed else { return false };
        let Some(policy) = &self.control.table().get(routed.route).resilience.retries else { return false };
        let method: &Method = &session.req_header().method;
        let failed = FailedTry {
            kind,
            method,
            repeated: ctx.tries.repeated,
            replayable: !session.as_ref().retry_buffer_truncated(),
            answer_begun: ctx.tries.answer_begun,
        };
        if !policy.repeats(failed) || !attempt.upstream().may_repeat(now) {
            return false;
        }
        ctx.tries.pause = Some(policy.pause(ctx.tries.repeated, rand::random()));
        ctx.tries.repeated += 1;
        true
    }

    /// Decides for legacy where the candidate takes no request and the route allows it. `false` when
    /// there is nowhere to go.
    fn fall_back(&self, ctx: &mut RequestContext, why: Unavailable) -> bool {
        let Some(routed) = &mut ctx.routed else { return false };
        let upstream = routed.decision.upstream;
        let route = self.control.table().get(routed.route);
        let allowed = route.resilience.fallback_on.contains(why);
        let Some(fallback) = allowed.then(|| routed.decision.fall_back(route, why.reason())).flatten() else {
            ctx.tries.unavailable = Some((upstream, why));
            return false;
        };
        tracing::debug!(
            request_id = %ctx.request_id, route = %route.name, upstream = %self.upstreams.get(upstream).name, ?why,
            "candidate unavailable, falling back to legacy"
        );
        self.metrics.fell_back(routed.route);
        let held =
            self.sticky_writes.held(routed.route, routed.key.as_deref(), &self.control.snapshot(), Instant::now());
        if held == Some(Side::Candidate) {
            self.sticky_writes.broken(routed.route);
        }
        routed.decision = fallback;
        ctx.tries.failed_at.clear();
        ctx.tries.repeated = 0;
        true
    }
}
