//! Whether a request is served, and by which side: the steps in their order, each a module's own work.

use std::borrow::Cow;

use http::header;
use pingora::{http::RequestHeader, proxy::Session};

use crate::{
    decision::RouteDecision,
    gateway::Gateway,
    refusal::{Refusal, Refused},
    request_context::{RequestContext, Routed},
    request_path::RequestPath,
    rollout::Bucket,
    route_table::KeyInput,
};

impl Gateway {
    /// Admits a request, or says why not. Nothing has been sent to any upstream yet.
    pub(crate) async fn admit(&self, session: &mut Session, ctx: &mut RequestContext) -> Result<(), Refused> {
        let request = session.req_header();
        self.check_size(request)?;
        ctx.client = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());

        // 1. The route.
        let unambiguous = request.raw_path().iter().all(|byte| matches!(byte, 0x21..=0x7e));
        let path = RequestPath::parse(request.uri.path()).ok().filter(|_| unambiguous).ok_or(Refusal::BadPath)?;
        let table = self.control.table();
        let id = table.find(&request.method, &path).ok_or(Refusal::NoRoute)?;
        let route = table.get(id);

        // 2. Who asks.

        // 3. What the decision is sticky to.
        let input = KeyInput { path: &path, headers: &request.headers, client: ctx.client };
        let key = route.key.extract(&input);
        let bucket = key.as_deref().map_or_else(Bucket::random, |key| Bucket::of(&route.salt, key));

        // 4. Whether there is budget left.

        // 5. The side.
        let snapshot = self.control.snapshot();
        let pin = key.as_deref().and_then(|key| snapshot.pins(id).get(key));
        let decision = RouteDecision::new(route, snapshot.get(id), pin, bucket);
        let key = key.map(Cow::into_owned);
        ctx.routed = Some(Routed { route: id, key, bucket, decision, side_in_flight: None });
        Ok(())
    }

    fn check_size(&self, request: &RequestHeader) -> Result<(), Refusal> {
        let lines = request.headers.iter();
        let header_bytes: usize = lines.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if header_bytes + request.raw_path().len() > self.config.header_limit.as_usize() {
            return Err(Refusal::HeaderTooLarge);
        }
        let length = request.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length = length.and_then(|text| text.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.config.body_limit.bytes()) {
            return Err(Refusal::BodyTooLarge);
        }
        Ok(())
    }
}
