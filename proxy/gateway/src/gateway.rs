//! The phases of a request, in order; each is glue around a module that decides.

use std::{os::fd::RawFd, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    protocols::Digest,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::HttpPeer,
};

use crate::{
    access_log::{AccessLog, Line},
    admission::drop_short_body,
    answer::Answer,
    auth::Authenticator,
    client_address::TrustedProxies,
    config::HttpConfig,
    control::Control,
    forwarding, header_case, http_rules, key_body,
    limit::Limiter,
    listener::{Draining, head_was_read},
    metrics::{Metrics, RequestEnd},
    ramp::{Observed, Ramps},
    refusal::Refusal,
    request_context::{InFlightCount, RequestContext},
    shadow::{Ended, Shadow, Spoilt},
    slices::Slices,
    sticky_writes::{StickyWrites, WriteOutcome},
    trace::Tracing,
    upstream::Upstreams,
};

/// Paths that the gateway answers itself, whatever the routes say.
pub(crate) const OWN_PATHS: [&str; 3] = ["/health", "/livez", "/readyz"];

/// The status that log and metrics show for a client that went away before its answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The data plane.
pub struct Gateway {
    pub(crate) config: HttpConfig,
    pub(crate) auth: Arc<Authenticator>,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) control: Arc<Control>,
    pub(crate) ramps: Arc<Ramps>,
    pub(crate) limiter: Limiter,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) sticky_writes: StickyWrites,
    pub(crate) slices: Arc<Slices>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: AccessLog,
    pub(crate) tracing: Tracing,
    pub(crate) shadow: Option<Arc<Shadow>>,
    pub(crate) in_flight: InFlightCount,
    pub(crate) draining: Draining,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = RequestContext;

    fn init_downstream_modules(&self, _: &mut HttpModules) {
        // pingora's default is a module that compresses answers, switched off; it would be asked for each part
        // of every request all the same.
    }

    fn new_ctx(&self) -> RequestContext {
        // pingora asks for a context when it has read the head of a request.
        head_was_read();
        RequestContext::new(self.in_flight.enter())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestContext) -> Result<bool> {
        self.set_client_limits(session);
        let request = session.req_header();
        ctx.request_id = forwarding::request_id(request);
        ctx.trace = self.tracing.begin(request, ctx.trace);
        let answer = match self.own_answer(session) {
            Some(answer) => {
                ctx.refusal = Some("own_path");
                Some(answer)
            }
            None => self.admit(session, ctx).await.err().map(|refused| {
                self.metrics.refused(refused.refusal);
                ctx.refusal = Some(refused.refusal.code());
                refused.answer
            }),
        };
        let Some(answer) = answer else {
            if !self.config.preserve_header_case {
                // Before pingora copies the head for each try.
                header_case::forget_in_request(session.req_header_mut())?;
            }
            return Ok(false);
        };
        let limited = answer.status() == StatusCode::TOO_MANY_REQUESTS;
        if answer.status().is_client_error() && !(limited && drop_short_body(session).await) {
            // What follows on the connection may be a body that nobody wants to read. But a client that
            // is over its limit now goes on later, and connecting anew costs both sides more.
            session.set_keepalive(None);
        }
        answer.send(session, &ctx.request_id).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut RequestContext) -> Result<Box<HttpPeer>> {
        self.next_attempt(session.req_header(), ctx).await
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        connection: RawFd,
        digest: Option<&Digest>,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        self.connected(session, ctx, (connection, digest), reused)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut RequestContext,
        mut error: Box<Error>,
    ) -> Box<Error> {
        error.set_retry(self.connect_failed(session, ctx, &error));
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        self.before_sending(ctx)?;
        if let Some(routed) = &ctx.routed {
            self.control.table().get(routed.route).request_headers.edit_request(request)?;
            if let Some(target) = &routed.rewritten {
                request.set_uri(target.clone());
            }
        }
        self.auth.tell_upstream(request, ctx.identity.as_deref())?;
        let over_tls = session.digest().is_some_and(|connection| connection.ssl_digest.is_some());
        forwarding::to_upstream(request, ctx.peer, over_tls, &ctx.request_id, ctx.trace.own)?;
        if let Some(shadow) = &mut ctx.shadow {
            shadow.request_head(request, session.as_mut().is_body_empty());
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        http_rules::drop_empty_end(body, end_of_stream);
        if !ctx.kept_body.is_empty() && !ctx.kept_body_sent {
            ctx.kept_body_sent = true;
            *body = Some(key_body::joined(&ctx.kept_body, body.take()));
        }
        ctx.body_bytes += body.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if ctx.body_bytes > ctx.body_limit_bytes {
            self.metrics.refused(Refusal::BodyTooLarge);
            ctx.refusal = Some(Refusal::BodyTooLarge.code());
            return Err(Error::explain(
                ErrorType::HTTPStatus(StatusCode::PAYLOAD_TOO_LARGE.as_u16()),
                "the body is longer than the limit",
            )
            .into_down());
        }
        if let Some(shadow) = &mut ctx.shadow {
            shadow.request_body(body.as_ref(), end_of_stream);
        }
        Ok(())
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut RequestContext,
        client_reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("Peer: {peer}"));
        let again = self.try_failed(session, ctx, &error, client_reused);
        error.set_retry(again);
        error
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        http_rules::check_answer(session.req_header(), answer)?;
        if !self.config.preserve_header_case {
            header_case::forget_in_answer(answer)?;
        }
        self.answer_arrived(session, ctx, answer)?;
        if let Some(shadow) = &mut ctx.shadow {
            shadow.answer_head(session.req_header(), answer, ctx.upstream_latency);
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut RequestContext,
    ) -> Result<Option<Duration>> {
        if let Some(shadow) = &mut ctx.shadow {
            shadow.answer_body(body.as_ref());
        }
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        ctx.tries.answer_begun = true;
        self.note_write(session, ctx, WriteOutcome::Answered(answer.status.as_u16()));
        let end_the_connection = http_rules::fit_answer(session.req_header(), answer);
        if end_the_connection || self.draining.has_begun() {
            session.set_keepalive(None);
        }
        if let Some(routed) = &ctx.routed {
            self.control.table().get(routed.route).response_headers.edit_answer(answer)?;
        }
        let side = ctx.routed.as_ref().filter(|_| self.config.served_by_header).map(|routed| routed.decision.side);
        if let Some(limit) = &ctx.limit {
            limit.append_to(answer)?;
        }
        forwarding::to_client(answer, &ctx.request_id, side)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut RequestContext) -> FailToProxy {
        if ctx.tries.is_unanswered() {
            self.note_write(session, ctx, WriteOutcome::Unknown);
        }
        let answer = self.failure_answer(error, ctx);
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        if status >= 500 {
            tracing::warn!(request_id = %ctx.request_id, status, error = %error, "request failed");
        }
        if let Some(answer) = answer
            && !http_rules::has_begun(session.response_written())
        {
            session.set_keepalive(None);
            if let Err(error) = answer.send(session, &ctx.request_id).await {
                tracing::debug!(request_id = %ctx.request_id, %error, "the client did not take the answer");
            }
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &RequestContext,
        _: &Error,
        context: ProxyWarnLogContext,
    ) -> bool {
        // A metric counts them; under an outage lines would be too many.
        context == ProxyWarnLogContext::UpstreamRetry
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut RequestContext) {
        ctx.write = None;
        let written = session.response_written().map(|answer| answer.status.as_u16());
        let status = match error {
            Some(error) if *error.esource() == ErrorSource::Downstream && written.is_none_or(|code| code < 400) => {
                Some(CLIENT_CLOSED_REQUEST)
            }
            // The answer began but did not end.
            Some(_) if written.is_some_and(|code| code < 400) => None,
            _ => written,
        };
        let latency = ctx.arrived.elapsed();
        let routed = ctx.routed.as_ref();
        if let Some(routed) = routed {
            let decision = routed.decision;
            let end = RequestEnd { status, seconds: latency.as_secs_f64() };
            self.metrics.request_ended(routed.route, decision.side, decision.reason, end);
            let observed = Observed {
                decision,
                key: routed.key.as_deref(),
                refused: ctx.refusal.is_some(),
                unavailable: ctx.tries.unavailable.map(|(_, why)| why),
                status,
                latency: ctx.upstream_latency.unwrap_or(latency),
            };
            self.ramps.request_ended(&self.control, routed.route, &observed);
        }
        let unavailable = ctx.tries.unavailable.map(|(_, why)| why.code());
        let reason = ctx.refusal.or(unavailable).or(routed.map(|routed| routed.decision.reason.as_str()));
        let request = session.req_header();
        let decided = routed.map(|routed| (routed.route, routed.decision));
        self.tracing.end(ctx.trace, latency, &request.method, decided, status);
        self.access_log.write(&Line {
            request_id: &ctx.request_id,
            trace: ctx.trace.own,
            method: request.method.as_str(),
            path: request.uri.path(),
            route: routed.map(|routed| self.control.table().get(routed.route).name.as_str()),
            key: routed.and_then(|routed| routed.key.as_deref()),
            side: routed.map(|routed| routed.decision.side.as_str()),
            reason: reason.unwrap_or("invalid_request"),
            status: status.unwrap_or(0),
            latency,
            upstream: ctx.upstream_latency,
            bytes_received: session.body_bytes_read() as u64,
            bytes_sent: session.body_bytes_sent() as u64,
        });
        self.shadow(ctx, error);
    }
}

impl Gateway {
    /// Hands the copy of a request that has ended over, where there is one.
    fn shadow(&self, ctx: &mut RequestContext, error: Option<&Error>) {
        if let (Some(shadow), Some(shadowing), Some(routed)) = (&self.shadow, ctx.shadow.take(), ctx.routed.take()) {
            let by_client = |error: &Error| *error.esource() == ErrorSource::Downstream && ctx.refusal.is_none();
            let spoilt = error.map(|error| if by_client(error) { Spoilt::ClientGone } else { Spoilt::NotServed });
            shadow.ended(
                shadowing,
                &Ended { route: routed.route, decision: routed.decision, trace: ctx.trace.own, spoilt },
            );
        }
    }

    /// Holds the key where it may have been written.
    fn note_write(&self, session: &Session, ctx: &RequestContext, outcome: WriteOutcome) {
        let Some(routed) = &ctx.routed else { return };
        if self.control.table().get(routed.route).sticky_writes.is_none() {
            return;
        }
        let request = (&session.req_header().method, outcome);
        let (key, side) = (routed.key.as_deref(), routed.decision.side);
        self.sticky_writes.note(routed.route, key, request, side, &self.control.snapshot());
    }

    fn set_client_limits(&self, session: &mut Session) {
        session.set_read_timeout(Some(self.config.read_timeout.get()));
        session.set_write_timeout(Some(self.config.write_timeout.get()));
        session.set_total_drain_timeout(Some(self.config.read_timeout.get()));
        session.set_pipelining_enabled(true);
    }

    /// The answer to a request about the gateway itself.
    fn own_answer(&self, session: &Session) -> Option<Answer> {
        let path = session.req_header().uri.path();
        if !OWN_PATHS.contains(&path) {
            return None;
        }
        let health = |healthy| if healthy { "healthy" } else { "unhealthy" };
        Some(match path {
            "/health" => {
                let services = self.upstreams.iter();
                let services: serde_json::Map<_, _> =
                    services.map(|(_, one)| (one.name.clone(), health(one.is_healthy()).into())).collect();
                Answer::json(StatusCode::OK, &serde_json::json!({ "gateway": "healthy", "services": services }))
            }
            "/readyz" if self.draining.has_begun() => {
                Answer::json(StatusCode::SERVICE_UNAVAILABLE, &serde_json::json!({ "status": "draining" }))
            }
            _ => Answer::json(StatusCode::OK, &serde_json::json!({ "status": "ok" })),
        })
    }
}
