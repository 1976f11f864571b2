//! Whether a request is served, and by which side: the steps in their order, each a module's own work.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use http::{Version, header};
use pingora::{http::RequestHeader, proxy::Session};
use tokio::time::timeout;

use crate::{
    auth::Identity,
    decision::RouteDecision,
    gateway::Gateway,
    http_rules, key_body,
    limit::Caller,
    refusal::{Refusal, Refused},
    request_context::{RequestContext, Routed},
    request_host::request_host,
    request_path::RequestPath,
    rollout::{Bucket, Weight},
    route_table::{JsonKey, JsonPointer, KeyInput, KeySource, MatchInput, Route},
    shadow::Asked,
};

/// What fits into a few packets that are on their way already.
const SHORT_BODY_BYTES: usize = 16 * 1024;

/// How long that may take to arrive.
const SHORT_BODY_WAIT: Duration = Duration::from_millis(500);

impl Gateway {
    /// Admits a request, or says why not. Nothing has been sent to any upstream yet.
    pub(crate) async fn admit(&self, session: &mut Session, ctx: &mut RequestContext) -> Result<(), Refused> {
        http_rules::apply(session)?;
        let request = session.req_header();
        self.check_header_size(request)?;
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(|at| self.trusted_proxies.peer(*at));
        ctx.peer = peer;
        ctx.client = peer.map(|peer| self.trusted_proxies.client(peer, &request.headers));

        // 1. The route.
        let unambiguous = request.raw_path().iter().all(|byte| matches!(byte, 0x21..=0x7e));
        let path = RequestPath::parse_with(request.uri.path(), self.config.path_parameters);
        let path = path.ok().filter(|_| unambiguous).ok_or(Refusal::BadPath)?;
        let host = request_host(request).map_err(|_| Refusal::BadHost)?;
        let query = request.uri.query();
        let (method, headers) = (&request.method, &request.headers);
        let table = self.control.table();
        let input = MatchInput { method, host: host.as_deref(), path: &path, headers, query };
        let id = table.find(&input).ok_or(Refusal::NoRoute)?;
        let route = table.get(id);
        let rewritten = route.rewrite.as_ref().map(|rewrite| rewrite.apply(&path, query));
        ctx.body_limit_bytes = route.limits.body_bytes.unwrap_or(self.config.body_limit.bytes());
        check_declared_length(request, ctx.body_limit_bytes)?;

        // 2. Who asks.
        ctx.identity = self.auth.authenticate(id, &request.headers, &ctx.request_id).await?;

        // 3. What the decision is sticky to.
        let key = match &route.key {
            KeySource::Body(pointer) => self.key_in_body(session, ctx, pointer, route).await?,
            elsewhere => {
                let input = KeyInput { path: &path, headers, client: ctx.client, identity: ctx.identity.as_deref() };
                elsewhere.extract(&input).map_err(|_| Refusal::KeyRepeated)?.map(Cow::into_owned)
            }
        };
        if key.is_none() && route.key_required {
            return Err(Refusal::KeyMissing.into());
        }
        let bucket = key.as_deref().map_or_else(Bucket::random, |key| Bucket::of(&route.salt, key));

        // 4. Whether there is budget left.
        let identity = ctx.identity.as_deref().map(Identity::id);
        let caller = Caller { route: &route.name, key: key.as_deref(), client: ctx.client, identity };
        let counted = self.limiter.count(id, &caller, self.control.snapshot().limits());
        if let Some(counted) = counted {
            ctx.limit = self.limiter.decide(counted).await?;
        }

        // 5. Whether writes are held; the side is chosen by what is in force when they no longer are.
        if let Some(slice) = &route.slice
            && slice.writes.contains(&session.req_header().method)
        {
            let held_bytes = ctx.kept_body.len() as u64 + unread_bytes(session.req_header());
            ctx.write = Some(self.slices.gate(slice.id).enter(held_bytes).await?);
        }

        // 6. The side.
        let snapshot = self.control.snapshot();
        let pin = key.as_deref().and_then(|key| snapshot.pins(id).get(key));
        let mut decision = RouteDecision::new(route, snapshot.get(id), pin, bucket);
        if route.sticky_writes.is_some()
            && let Some(side) = self.sticky_writes.held(id, key.as_deref(), &snapshot, Instant::now())
        {
            decision = decision.stay(route, side);
        }
        if let Some(shadow) = &self.shadow {
            let request = session.req_header();
            let asked = Asked { method: &request.method, headers: &request.headers, key: key.as_deref() };
            // The rows of the other side are behind those of their owner.
            let share = if snapshot.get(id).moved { Weight::NONE } else { snapshot.shadow(id) };
            ctx.shadow = shadow.begin(id, &asked, share, decision);
        }
        ctx.routed = Some(Routed { route: id, key, rewritten, bucket, decision, side_in_flight: None });
        Ok(())
    }

    /// Reads the body for its key, and keeps what pingora does not.
    async fn key_in_body(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
        pointer: &JsonPointer,
        route: &Route,
    ) -> Result<Option<String>, Refusal> {
        let longest = usize::try_from(ctx.body_limit_bytes).unwrap_or(usize::MAX);
        let limit = route.limits.key_body_bytes.min(longest);
        let body = key_body::read(session, limit, self.config.read_timeout.get()).await?;
        ctx.kept_body = body.kept;
        match pointer.find(&body.bytes) {
            JsonKey::Found(key) => Ok(Some(key)),
            JsonKey::Absent => Ok(None),
            JsonKey::Repeated => Err(Refusal::KeyRepeated),
        }
    }

    fn check_header_size(&self, request: &RequestHeader) -> Result<(), Refusal> {
        let lines = request.headers.iter();
        let header_bytes: usize = lines.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let fits = header_bytes + request.raw_path().len() <= self.config.header_limit.as_usize();
        if fits { Ok(()) } else { Err(Refusal::HeaderTooLarge) }
    }
}

/// Reads and drops what the client still sends of this request, if that is little, so that the
/// connection can be kept. `false` when it is not, or does not come at once: a client that waits to be
/// told to send its body may never send it.
pub(crate) async fn drop_short_body(session: &mut Session) -> bool {
    let request = session.req_header();
    let headers = &request.headers;
    let length = headers.get(header::CONTENT_LENGTH).map_or(Some(0), |value| value.to_str().ok()?.parse().ok());
    let declared = !headers.contains_key(header::TRANSFER_ENCODING) && !headers.contains_key(header::EXPECT);
    let short = length.is_some_and(|length: usize| length <= SHORT_BODY_BYTES);
    // A connection of HTTP/2 is kept whatever becomes of one request.
    if !(declared && short && request.version <= Version::HTTP_11) {
        return false;
    }
    let dropped = timeout(SHORT_BODY_WAIT, session.downstream_session.drain_request_body()).await;
    dropped.is_ok_and(|read| read.is_ok())
}

/// What the engine and its connection take in of a body that nobody reads yet, at most.
const UNREAD_BYTES: u64 = 64 * 1024;

/// What a request that waits may take of a body, besides what was kept of it.
fn unread_bytes(request: &RequestHeader) -> u64 {
    let length = request.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let may_come = || if request.headers.contains_key(header::TRANSFER_ENCODING) { UNREAD_BYTES } else { 0 };
    let streamed = request.version > Version::HTTP_11;
    length.unwrap_or_else(|| if streamed { UNREAD_BYTES } else { may_come() }).min(UNREAD_BYTES)
}

/// A body that says of itself that it is too long is not read.
fn check_declared_length(request: &RequestHeader, limit_bytes: u64) -> Result<(), Refusal> {
    let length = request.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit_bytes) { Err(Refusal::BodyTooLarge) } else { Ok(()) }
}
