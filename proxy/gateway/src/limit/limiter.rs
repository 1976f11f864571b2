//! Decides about a request: which policies it is counted for, and in which store.

use std::sync::Arc;

use prometheus::Registry;

use super::{
    budget::Flow,
    charge::{Charge, Charges},
    link::{Link, LinkKeeper},
    live::LiveLimits,
    local::LocalStore,
    metrics::LimitMetrics,
    policy::{Policies, PolicyId},
    redis::RedisStore,
    report::{LimitFields, NotAdmitted},
    subject::{Caller, Subject},
};
use crate::{
    config::{Config, LimitStore, RedisConfig, WhenUnavailable},
    route_table::RouteId,
};

/// The limits of every route.
pub struct Limiter {
    policies: Arc<Policies>,
    /// By route, in the order of their ids.
    routes: Box<[Box<[PolicyId]>]>,
    local: LocalStore,
    shared: Option<Shared>,
    metrics: Arc<LimitMetrics>,
}

/// Redis, and what to do without it.
struct Shared {
    store: RedisStore,
    when_unavailable: WhenUnavailable,
    gateways: u32,
}

/// A request that is to be decided about. It holds nothing of the state it was made from.
pub struct Counted<'a>(Charges<'a>);

impl Limiter {
    /// For a configuration that has been checked; with the task that keeps Redis connected, where Redis
    /// decides.
    ///
    /// # Errors
    /// When the registry has metrics of these names already.
    pub fn new(
        config: &Config,
        policies: Arc<Policies>,
        registry: &Registry,
    ) -> prometheus::Result<(Self, Option<LinkKeeper>)> {
        let limits = &config.limits;
        let redis = limits.store == LimitStore::Redis;
        let metrics = Arc::new(LimitMetrics::new(registry, &policies, redis)?);
        let routes = config.routes.iter().map(|route| {
            let mut ids: Vec<PolicyId> = route.limits.iter().filter_map(|name| policies.by_name(name)).collect();
            ids.sort_unstable();
            ids.into()
        });
        let (shared, keeper) = redis.then(|| Shared::new(&limits.redis, &policies, &metrics)).unzip();
        let local = LocalStore::new(policies.iter().len(), limits.max_keys);
        let limiter = Self { routes: routes.collect(), local, shared, policies, metrics };
        Ok((limiter, keeper))
    }

    /// What the request is counted for, by the limits in force now. `None` where nothing limits it.
    pub fn count<'a>(&self, route: RouteId, caller: &Caller<'a>, limits: &LiveLimits) -> Option<Counted<'a>> {
        let policies = &self.routes[route.index()];
        if policies.is_empty() {
            return None;
        }
        Some(Counted(Charges::new(policies.iter().map(|id| {
            let subject = Subject::of(self.policies.get(*id).counts, caller);
            let limit = limits.get(*id);
            let quota = if limit.overrides.is_empty() { limit.quota } else { limit.quota(&subject.text()) };
            Charge { policy: *id, subject, quota, flow: Flow::of(quota), used: 0.0 }
        }))))
    }

    /// Decides. The fields are for the answer; there are none when nobody could decide and requests
    /// are let through then.
    ///
    /// # Errors
    /// When the request is not let through.
    pub async fn decide(&self, request: Counted<'_>) -> Result<Option<LimitFields>, NotAdmitted> {
        let Counted(mut charges) = request;
        let admitted = match &self.shared {
            None => self.local.charge(&mut charges, &self.metrics),
            Some(shared) => match shared.store.charge(&mut charges, &self.metrics).await {
                Ok(admitted) => admitted,
                Err(why) => {
                    self.metrics.fell_back(why);
                    match shared.when_unavailable {
                        WhenUnavailable::Allow => return Ok(None),
                        WhenUnavailable::Deny => return Err(NotAdmitted::Unknown),
                        WhenUnavailable::Local => {
                            for charge in charges.iter_mut() {
                                charge.flow = charge.flow.part_of(shared.gateways);
                            }
                            self.local.charge(&mut charges, &self.metrics)
                        }
                    }
                }
            },
        };
        for charge in charges.iter().filter(|charge| admitted || !charge.flow.fits(charge.used)) {
            self.metrics.decided(charge.policy, admitted);
        }
        if admitted {
            Ok(Some(LimitFields::new(&self.policies, &charges)))
        } else {
            Err(NotAdmitted::used_up(&self.policies, &charges))
        }
    }
}

impl Shared {
    fn new(config: &RedisConfig, policies: &Arc<Policies>, metrics: &Arc<LimitMetrics>) -> (Self, LinkKeeper) {
        let link = Arc::new(Link::default());
        let client = config.client().expect("the URL has been checked");
        let (prefix, timeout) = (&config.prefix, config.timeout.get());
        let timeouts = (config.connect_timeout.get(), timeout);
        let keeper = LinkKeeper::new(link.clone(), client, prefix, timeouts, metrics.clone());
        let store = RedisStore::new(link, prefix.clone(), policies.clone(), timeout);
        (Self { store, when_unavailable: config.when_unavailable, gateways: config.gateways }, keeper)
    }
}
