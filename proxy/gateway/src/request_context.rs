//! What the gateway knows about one request while it serves it.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Uri;
use prometheus::IntGauge;
use tokio::sync::Notify;

use crate::{
    auth::Identity, client_address::Peer, decision::RouteDecision, dispatch::Tries, limit::LimitFields,
    rollout::Bucket, route_table::RouteId, shadow::Shadowing, slices::Write, trace::Place,
};

/// One request, from its header to the end of its answer.
pub struct RequestContext {
    pub(crate) arrived: Instant,
    pub(crate) request_id: String,
    /// Whoever opened the connection.
    pub(crate) peer: Option<Peer>,
    /// The client's address, behind trusted proxies.
    pub(crate) client: Option<IpAddr>,
    pub(crate) trace: Place,
    /// Who asks, once that is proven.
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) routed: Option<Routed>,
    /// How its limits stand, for the answer.
    pub(crate) limit: Option<LimitFields>,
    /// Why the gateway answered by itself, as a code.
    pub(crate) refusal: Option<&'static str>,
    pub(crate) body_bytes: u64,
    /// The longest body the request may have.
    pub(crate) body_limit_bytes: u64,
    /// The beginning of a body that was read for its key, to be sent before the rest.
    pub(crate) kept_body: Bytes,
    /// Whether this attempt has sent it.
    pub(crate) kept_body_sent: bool,
    /// When the latest upstream was chosen.
    pub(crate) upstream_chosen: Option<Instant>,
    /// From then to the header of its answer.
    pub(crate) upstream_latency: Option<Duration>,
    pub(crate) tries: Tries,
    /// Its being in flight as a write to a slice.
    pub(crate) write: Option<Write>,
    /// What shadowing does with it, on a route that can be shadowed.
    pub(crate) shadow: Option<Shadowing>,
    _in_flight: InFlight,
}

/// What follows from the route.
pub(crate) struct Routed {
    pub(crate) route: RouteId,
    pub(crate) key: Option<String>,
    /// The target that upstreams see in place of the client's.
    pub(crate) rewritten: Option<Uri>,
    pub(crate) bucket: Bucket,
    pub(crate) decision: RouteDecision,
    /// Counts the request among those its side is serving.
    pub(crate) side_in_flight: Option<GaugeGuard>,
}

impl RequestContext {
    pub(crate) fn new(in_flight: InFlight) -> Self {
        Self {
            arrived: Instant::now(),
            request_id: String::new(),
            peer: None,
            client: None,
            trace: Place::first(),
            identity: None,
            routed: None,
            limit: None,
            refusal: None,
            body_bytes: 0,
            body_limit_bytes: u64::MAX,
            kept_body: Bytes::new(),
            kept_body_sent: false,
            upstream_chosen: None,
            upstream_latency: None,
            tries: Tries::default(),
            write: None,
            shadow: None,
            _in_flight: in_flight,
        }
    }
}

/// A gauge that is one higher while this lives.
pub(crate) struct GaugeGuard(IntGauge);

impl GaugeGuard {
    pub(crate) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How many requests, or whatever else a drain has to wait for, are being served.
#[derive(Clone, Default)]
pub(crate) struct InFlightCount(Arc<(AtomicUsize, Notify)>);

/// One of them.
pub(crate) struct InFlight(InFlightCount);

impl InFlightCount {
    pub(crate) fn enter(&self) -> InFlight {
        self.0.0.fetch_add(1, Ordering::AcqRel);
        InFlight(self.clone())
    }

    pub(crate) fn get(&self) -> usize {
        self.0.0.load(Ordering::Acquire)
    }

    /// Waits until there is none.
    pub(crate) async fn none_left(&self) {
        loop {
            // Registered before the look, so that the last one cannot leave unnoticed in between.
            let left = self.0.1.notified();
            if self.get() == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.0.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.0.1.notify_waiters();
        }
    }
}
