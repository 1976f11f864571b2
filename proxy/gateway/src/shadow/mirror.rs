//! One copy, from the end of the request that it is of to its own outcome.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ::dry_run::REQUEST_HEADER;
use comparison::{Answer, Shape, compare};
use telemetry::{TRACEPARENT, TraceContext};

use super::{
    Shared,
    budget::{Body, Share},
    dry_run,
    exchange::{Allowance, Message, exchange, for_http1},
    finished::Finished,
    metrics::Pending,
    outcome::{Dropped, Outcome},
    received::Received,
    sampling::Manner,
    shadowed_route::ShadowedRoute,
    tee::Copied,
};
use crate::{decision::Side, forwarding::SHADOW, route_table::UpstreamId, trace::Tracing};

/// A copy that is to be sent and compared.
pub(super) struct Job {
    pub(super) route: Arc<ShadowedRoute>,
    pub(super) served_by: Side,
    pub(super) copied: Copied,
    /// The span of the request that was served.
    pub(super) trace: TraceContext,
    pub(super) pending: Pending,
    /// Its place among all copies, kept until it is through.
    pub(super) place: Share,
    /// That at its upstream, which may be kept for longer.
    pub(super) upstream_place: Share,
}

/// A copy that may be sent, more than once.
struct CopiedRequest {
    message: Message,
    manner: Manner,
    /// Keeps the message's part of the budget.
    _body: Body,
}

impl Job {
    pub(super) async fn run(self, shared: Arc<Shared>) {
        let Self { route, served_by, copied, trace, pending, place, upstream_place } = self;
        let other_side = served_by.other();
        let served = copied.served;
        let mut copy = match CopiedRequest::new(copied.manner, copied.request, copied.body) {
            Ok(copy) => copy,
            Err(error) => {
                tracing::error!(route = %route.name, %error, "a request cannot be copied");
                return pending.settle(Outcome::Dropped(Dropped::Failed));
            }
        };
        let shape = route.wants_shapes.then(|| {
            let Message { head, body } = &copy.message;
            Shape::new(head.method.as_str(), &route.template, head.uri.query(), Some(body))
        });
        if let Some(shape) = &shape {
            shared.judge.copied(route.id, shape);
        }
        let in_trace = Tracing::begin_copy(trace);
        let (span, begun) = (in_trace.own, Instant::now());
        let to = route.upstream(other_side);
        let sent = copy.send(&shared, &route, to, span).await;
        let status = sent.as_ref().ok().map(|other| other.head.status.as_u16());
        shared.tracing.end_copy(in_trace, begun.elapsed(), route.id, other_side, status);
        route.rest(other_side).ended(copied.ticket, &sent, Instant::now());
        let other = match sent {
            Ok(other) => other,
            Err(dropped) => {
                let kept = route.rest(other_side).keeps_place(dropped);
                if !kept.is_zero() {
                    tokio::spawn(keep(upstream_place, kept));
                }
                return pending.settle(Outcome::Dropped(dropped));
            }
        };
        route.metrics.answered(served_by, served.head.latency.as_secs_f64(), trace);
        route.metrics.answered(other_side, other.head.latency.as_secs_f64(), span);
        let (legacy, candidate) = match served_by {
            Side::Legacy => (&served, &other),
            Side::Candidate => (&other, &served),
        };
        let answers = [legacy.answer(), candidate.answer()];
        // A defect in comparing must cost one outcome, and nothing else.
        let outcome =
            catch_unwind(AssertUnwindSafe(|| copy.compare(&shared, &route, served_by, answers, [trace, span])));
        let outcome = outcome.unwrap_or(Outcome::Dropped(Dropped::Failed));
        if let Some(different) = outcome.differed() {
            shared.judge.compared(route.id, shape.as_ref(), different);
        }
        pending.settle(outcome);
        if copy.manner == Manner::Plain && rand::random::<f64>() < shared.noise_share {
            copy.learn_noise(&shared, &route, legacy, trace.child()).await;
        }
        drop((place, upstream_place));
    }
}

async fn keep(place: Share, kept: Duration) {
    tokio::time::sleep(kept).await;
    drop(place);
}

impl CopiedRequest {
    fn new(manner: Manner, head: pingora::http::RequestHeader, body: Body) -> pingora::Result<Self> {
        let mut head = for_http1(head, body.bytes().len())?;
        head.insert_header(SHADOW, "1")?;
        Ok(Self { message: Message { head, body: body.bytes().clone() }, manner, _body: body })
    }

    /// Compares the answers of legacy and the candidate, and hands on what came of it.
    fn compare(
        &self,
        shared: &Shared,
        route: &ShadowedRoute,
        served_by: Side,
        answers: [Answer<'_>; 2],
        spans: [TraceContext; 2],
    ) -> Outcome {
        let masks = route.noise.masks(SystemTime::now());
        let rules = route.rules_now(&shared.control.snapshot());
        let comparison = compare(&rules, &masks, &answers[0], &answers[1]);
        let Message { head, body } = &self.message;
        let request = (head, body.as_ref());
        let finished = Finished { route, rules: &rules, served_by, request, answers, comparison: &comparison, spans };
        finished.hand_on(&shared.mismatches)
    }

    /// Asks legacy once more, and learns from the two answers what of them is noise.
    async fn learn_noise(&mut self, shared: &Shared, route: &ShadowedRoute, first: &Received, span: TraceContext) {
        match self.send(shared, route, route.legacy, span).await {
            Ok(again) => {
                route.noise.observe(&route.rules, &first.answer(), &again.answer(), SystemTime::now());
                route.metrics.noise_learnt.inc();
            }
            Err(_) => route.metrics.noise_failed.inc(),
        }
    }

    /// Sends it, and receives the answer within the route's time.
    async fn send(
        &mut self,
        shared: &Shared,
        route: &ShadowedRoute,
        to: UpstreamId,
        span: TraceContext,
    ) -> Result<Received, Dropped> {
        let upstream = shared.upstreams.get(to);
        let agreement = &shared.sides[to.index()].agreement;
        let message = &mut self.message;
        message.head.insert_header(TRACEPARENT, span.to_string()).map_err(|_| Dropped::Failed)?;
        let signed = match (self.manner, &shared.dry_run_key) {
            (Manner::Plain, _) => None,
            (Manner::DryRun, Some(key)) if agreement.holds() => {
                Some((key, dry_run::sign(key, message).map_err(|_| Dropped::Failed)?))
            }
            (Manner::DryRun, _) => return Err(Dropped::NoDryRun),
        };
        let peer = upstream.peer_for_copy(Instant::now()).ok_or(Dropped::OtherUnavailable)?;
        let allowance = Allowance { memory: &shared.memory, body_limit: route.body_limit };
        // Boxed, because it is large and what it is a part of is moved when it is spawned.
        let answered = Box::pin(exchange(&shared.connector, &peer, message, &allowance));
        let answer = tokio::time::timeout(route.timeout, answered).await.map_err(|_| Dropped::OtherTimeout)??;
        // It holds for this sending alone, and has no place in what is kept of a mismatch.
        self.message.head.remove_header(REQUEST_HEADER);
        if let Some((key, token)) = signed {
            agreement.check(key, &token, answer.head.status, &answer.head.headers, &upstream.name)?;
        }
        Ok(answer)
    }
}
