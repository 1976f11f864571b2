//! Shadow comparison: a copy of a request goes to the side that does not serve it, and its answer is compared
//! with the one that was served, and thrown away.
//!
//! The request that is served comes first in everything. It is copied while it passes ([`tee`]), which takes no
//! wait and cannot fail it; what is done with the copy begins when its client has the answer ([`Shadow::ended`]),
//! on threads of its own ([`workers`]), within a budget of places and memory ([`budget`]) in which nothing queues.
//!
//! Every request that a route with settings for shadowing decides about ends in exactly one [`Outcome`]. They are
//! counted where `gateway_requests_total` is, at the request's end; a copy that is on its way has its outcome when
//! it is back, and until then is in the gauge `gateway_shadow_in_flight`. So but for the instant of a request's end
//! outcomes and gauge add up to the requests of the route. Requests that were refused before a side was chosen are in
//! neither.
//!
//! A copy has the head that the serving upstream got: the same target, header edits, identity and `x-forwarded-…`,
//! without what belongs to one connection. It differs in `x-shadow: 1`, in a `traceparent` with a span of its own,
//! in its framing, and in `strangler-dry-run` where it may change something ([`dry_run`]). It counts in no limit,
//! circuit, budget of retries or metric of its upstream.

mod budget;
mod dry_run;
mod exchange;
mod finished;
mod giving_way;
mod metrics;
mod mirror;
mod noise;
mod outbox;
mod outcome;
mod received;
mod report;
mod rest;
mod sampling;
mod shadowed_route;
mod store;
mod tee;
mod workers;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ::dry_run::Key;
use pingora::connectors::{ConnectorOptions, http::Connector};
use prometheus::Registry;
use telemetry::TraceContext;

use crate::{
    config::{Config, shadowed_routes},
    control::Control,
    decision::RouteDecision,
    ramp::Judge,
    request_context::InFlightCount,
    rollout::Weight,
    route_table::{RouteId, UpstreamId},
    run::RunError,
    trace::Tracing,
    upstream::Upstreams,
};
use budget::Pool;
use dry_run::Agreement;
use metrics::{Families, Pending};
use mirror::Job;
use outbox::Outbox;
use outcome::{Dropped, Outcome};
pub(crate) use sampling::Asked;
use shadowed_route::ShadowedRoute;
use store::Mismatches;
pub(crate) use store::StoreError as MismatchStoreError;
pub(crate) use tee::Shadowing;
use tee::Tee;
use workers::Workers;

/// Shadowing of all routes that have settings for it.
pub(crate) struct Shadow {
    routes: Box<[Option<Arc<ShadowedRoute>>]>,
    shared: Arc<Shared>,
    places: Arc<Pool>,
    outbox: Outbox,
    workers: Mutex<Workers>,
    handle: tokio::runtime::Handle,
    on_their_way: InFlightCount,
    stopping: Arc<AtomicBool>,
}

/// What copies of all routes need on their way.
struct Shared {
    upstreams: Arc<Upstreams>,
    connector: Arc<Connector>,
    memory: Arc<Pool>,
    sides: Box<[ReceivingSide]>,
    dry_run_key: Option<Key>,
    judge: Judge,
    control: Arc<Control>,
    mismatches: Mismatches,
    tracing: Tracing,
    /// The share of copies that legacy is asked once more, from 0 to 1.
    noise_share: f64,
}

/// An upstream as one that gets copies.
struct ReceivingSide {
    places: Arc<Pool>,
    agreement: Arc<Agreement>,
}

/// How a request of a shadowed route ended.
pub(crate) struct Ended {
    pub(crate) route: RouteId,
    pub(crate) decision: RouteDecision,
    pub(crate) trace: TraceContext,
    /// Why its answer is nothing to compare with.
    pub(crate) spoilt: Option<Spoilt>,
}

/// Why the answer to a request is nothing to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoilt {
    /// It is not the whole answer of an upstream.
    NotServed,
    /// The client went away before the end.
    ClientGone,
}

impl Shadow {
    /// Starts what shadowing needs; nothing where no route has settings for it.
    ///
    /// # Errors
    /// When the system has no threads left, or there are metrics of these names already.
    pub(crate) fn start(
        config: &Config,
        control: &Arc<Control>,
        upstreams: &Arc<Upstreams>,
        judge: Judge,
        tracing: Tracing,
        registry: &Registry,
    ) -> Result<Option<Arc<Self>>, RunError> {
        let settings = shadowed_routes(&config.routes);
        if settings.is_empty() {
            return Ok(None);
        }
        let memory = Pool::new(config.shadow.max_bytes.as_usize());
        let families = Families::register(registry, &memory)?;
        let agreements = dry_run::Families::register(registry)?;
        let mismatches = Mismatches::start(&config.shadow.mismatches, &config.rollout.postgres, registry)?;
        let routes = control.table().iter().map(|(id, route)| {
            let own = settings.get(route.name.as_str())?;
            ShadowedRoute::new((id, route), own, &config.shadow, &judge, &families).map(Arc::new)
        });
        let routes: Box<[_]> = routes.collect();
        let places = |most: u32| Pool::new(usize::try_from(most).unwrap_or(usize::MAX));
        let sides = upstreams.iter().map(|(_, upstream)| ReceivingSide {
            places: places(config.shadow.max_concurrent_per_upstream),
            agreement: Arc::new(agreements.of(&upstream.name)),
        });
        let connections = usize::try_from(config.shadow.max_concurrent).unwrap_or(usize::MAX);
        let shared = Arc::new(Shared {
            upstreams: upstreams.clone(),
            connector: Arc::new(Connector::new(Some(ConnectorOptions::new(connections)))),
            memory,
            sides: sides.collect(),
            dry_run_key: config.shadow.dry_run_key(),
            judge,
            control: control.clone(),
            mismatches,
            tracing,
            noise_share: config.shadow.noise_percent / 100.0,
        });
        let workers = Workers::start(config.shadow.threads, config.shadow.nice)?;
        let shadow = Self {
            places: places(config.shadow.max_concurrent),
            outbox: Outbox::new(&workers.handle(), shared.clone(), config.shadow.gather.get()),
            handle: workers.handle(),
            routes,
            shared,
            workers: Mutex::new(workers),
            on_their_way: InFlightCount::default(),
            stopping: Arc::default(),
        };
        shadow.ask_for_dry_runs(config.shadow.dry_run_interval.get());
        Ok(Some(Arc::new(shadow)))
    }

    /// Asks every upstream that could get dry runs whether it agrees, now and then.
    fn ask_for_dry_runs(&self, every: Duration) {
        let Some(key) = &self.shared.dry_run_key else { return };
        let routes = self.routes.iter().flatten().filter(|route| route.sampling.wants_dry_runs());
        let receiving: BTreeSet<UpstreamId> = routes.flat_map(|route| [route.legacy, route.candidate]).collect();
        for id in receiving {
            let agreement = self.shared.sides[id.index()].agreement.clone();
            let (upstream, connector) = (self.shared.upstreams.get(id).clone(), self.shared.connector.clone());
            self.handle.spawn(dry_run::keep_asking(upstream, agreement, key.clone(), connector, every));
        }
    }

    /// Decides what to do with a request that has been admitted to a route; nothing where the route has no
    /// settings for shadowing.
    pub(crate) fn begin(
        &self,
        route: RouteId,
        asked: &Asked<'_>,
        share: Weight,
        decision: RouteDecision,
    ) -> Option<Shadowing> {
        let shadowed = self.routes[route.index()].as_ref()?;
        let other_side = decision.side.other();
        let receiving = shadowed.upstream(other_side);
        let agreed = || self.shared.sides[receiving.index()].agreement.holds();
        let begun = shadowed.sampling.decide(asked, share, agreed).and_then(|manner| {
            // A place is taken when the request has ended; but what finds none already is not worth copying.
            self.find_places(receiving)?;
            let ticket =
                shadowed.rest(other_side).ask(Instant::now()).ok_or(Outcome::Dropped(Dropped::OtherResting))?;
            Ok(Tee::new(manner, ticket, &self.shared.memory, shadowed.body_limit))
        });
        Some(begun.map_or_else(Shadowing::Settled, |tee| Shadowing::Copying(Box::new(tee))))
    }

    fn find_places(&self, receiving: UpstreamId) -> Result<(), Outcome> {
        if !self.places.has_left(1) {
            return Err(Outcome::Dropped(Dropped::Concurrency));
        }
        if !self.shared.sides[receiving.index()].places.has_left(1) {
            return Err(Outcome::Dropped(Dropped::UpstreamConcurrency));
        }
        Ok(())
    }

    /// Counts a request that has ended, or sends its copy. Never waits.
    pub(crate) fn ended(&self, shadowing: Shadowing, ended: &Ended) {
        let Some(route) = &self.routes[ended.route.index()] else { return };
        if let Err(outcome) = self.dispatch(route, shadowing, ended) {
            route.metrics.count(outcome);
        }
    }

    fn dispatch(&self, route: &Arc<ShadowedRoute>, shadowing: Shadowing, ended: &Ended) -> Result<(), Outcome> {
        if let Some(spoilt) = ended.spoilt
            && let Shadowing::Copying(_) = shadowing
        {
            return Err(Outcome::Dropped(match spoilt {
                Spoilt::NotServed => Dropped::NotServed,
                Spoilt::ClientGone => Dropped::ClientGone,
            }));
        }
        let copied = shadowing.finish()?;
        if self.stopping.load(Ordering::Acquire) {
            return Err(Outcome::Dropped(Dropped::Shutdown));
        }
        let receiving = route.upstream(ended.decision.side.other());
        let upstream_places = &self.shared.sides[receiving.index()].places;
        let place = self.places.take(1).ok_or(Outcome::Dropped(Dropped::Concurrency))?;
        let upstream_place = upstream_places.take(1).ok_or(Outcome::Dropped(Dropped::UpstreamConcurrency))?;
        let job = Job {
            route: route.clone(),
            served_by: ended.decision.side,
            copied,
            trace: ended.trace,
            pending: Pending::new(&route.metrics, &self.stopping, self.on_their_way.enter()),
            place,
            upstream_place,
        };
        self.outbox.put(job);
        Ok(())
    }

    /// Waits until no copy is on its way.
    pub(crate) async fn none_left(&self) {
        self.on_their_way.none_left().await;
    }

    /// Ends the copies that are still on their way. They are counted as dropped.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let left = self.on_their_way.get();
        if left > 0 {
            tracing::warn!(left, "copies were dropped because the gateway stops");
        }
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).stop();
        self.shared.mismatches.stop();
    }
}
