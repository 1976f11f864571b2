//! The sides that requests are sent to: their addresses, which of them takes a request, how much may be
//! in flight, when failures keep requests away, and how to connect.
//!
//! Two circuits ([`circuit`]) watch what requests meet, never the health probe. That of an *address* leaves
//! it out while others serve (passive outlier detection). That of the *upstream*, its breaker, is
//! there when configured, and keeps every request away.

mod address;
mod attempt;
mod balance;
mod capacity;
pub(crate) mod circuit;
mod handshake;
mod health;
mod metrics;
mod peer;
mod pooled_connection;
mod resolve;
mod tls;
mod view;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use pingora::upstreams::peer::HttpPeer;

pub(crate) use attempt::Attempt;
pub(crate) use circuit::{CircuitSettings, FailureShare};
pub use health::HealthProbe;
pub(crate) use peer::Connection;
pub use tls::UpstreamTlsProblem;
pub(crate) use view::UpstreamView;

use crate::{
    config::{Config, HostPort, UpstreamConfig},
    decision::Reason,
    resilience::RetryBudget,
    route_table::UpstreamId,
};
use address::{Address, AddressSet};
use attempt::Tickets;
use capacity::Capacity;
use circuit::{Change, Gate, Outcome, Ticket};
use metrics::{CounterFamilies, UpstreamCounters};
use peer::PeerTemplate;

/// One upstream.
pub struct Upstream {
    /// Its name in configuration.
    pub name: String,
    pub(crate) id: UpstreamId,
    config: UpstreamConfig,
    hosts: Vec<HostPort>,
    /// As the hosts resolve now.
    addresses: ArcSwap<AddressSet>,
    capacity: Capacity,
    breaker: Option<Gate>,
    /// Held while an address is being left out.
    ejecting: Mutex<()>,
    budget: RetryBudget,
    counters: UpstreamCounters,
    template: PeerTemplate,
}

/// Every upstream, by id.
pub struct Upstreams {
    all: Vec<Arc<Upstream>>,
    families: CounterFamilies,
}

/// An upstream that cannot be connected to by TLS.
#[derive(Debug, thiserror::Error)]
#[error("the TLS settings of the upstream `{upstream}` cannot be used")]
pub struct UpstreamError {
    /// Its name.
    pub upstream: String,
    /// Why not.
    #[source]
    pub source: UpstreamTlsProblem,
}

/// Why an upstream takes no request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// None of its names resolves, or none of its addresses could be connected to.
    Unreachable,
    /// As many requests as may be are in flight to it.
    Overloaded,
    /// Its circuit breaker is open.
    Open {
        /// For at least this much longer.
        retry_after: Duration,
    },
}

impl Unavailable {
    /// The code in answer and log.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "upstream_unreachable",
            Self::Overloaded => "upstream_overloaded",
            Self::Open { .. } => "upstream_unavailable",
        }
    }

    /// The reason of a decision for legacy because of it.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Unreachable => Reason::Fallback,
            Self::Overloaded => Reason::Overload,
            Self::Open { .. } => Reason::Breaker,
        }
    }
}

impl Upstreams {
    /// The configured upstreams; host names are looked up by the health probe.
    ///
    /// # Errors
    /// When an upstream's TLS files cannot be used.
    pub fn new(config: &Config) -> Result<Self, UpstreamError> {
        let families = CounterFamilies::new();
        let upstreams = config.upstreams.iter().enumerate().map(|(index, (name, upstream))| {
            let upstream = Upstream::new(UpstreamId(index), name, upstream, families.of(name));
            upstream.map(Arc::new).map_err(|source| UpstreamError { upstream: name.clone(), source })
        });
        Ok(Self { all: upstreams.collect::<Result<_, _>>()?, families })
    }

    /// The upstream with this id.
    #[must_use]
    pub fn get(&self, id: UpstreamId) -> &Arc<Upstream> {
        &self.all[id.index()]
    }

    /// Every upstream with its id.
    pub fn iter(&self) -> impl Iterator<Item = (UpstreamId, &Arc<Upstream>)> {
        self.all.iter().map(|upstream| (upstream.id, upstream))
    }
}

impl Upstream {
    fn new(
        id: UpstreamId,
        name: &str,
        config: &UpstreamConfig,
        counters: UpstreamCounters,
    ) -> Result<Self, UpstreamTlsProblem> {
        let hosts = config.host_ports();
        let now = Instant::now();
        let literals = hosts.iter().filter_map(HostPort::literal);
        Ok(Self {
            name: name.to_owned(),
            id,
            addresses: ArcSwap::from_pointee(AddressSet::default().reconciled(literals, config)),
            hosts,
            capacity: Capacity::new(config.max_concurrent),
            breaker: config.breaker.as_ref().map(|breaker| Gate::new(breaker.settings(), now)),
            ejecting: Mutex::new(()),
            budget: RetryBudget::new(config.retry_budget.settings(), now),
            counters,
            template: PeerTemplate::new(id, config)?,
            config: config.clone(),
        })
    }

    /// Its hosts as configured, with commas between.
    #[must_use]
    pub fn address(&self) -> String {
        self.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The name it is asked by when nobody else's is there to pass on.
    pub(crate) fn host(&self) -> String {
        self.hosts.first().map(ToString::to_string).unwrap_or_default()
    }

    /// Whether one of its addresses answered its latest probe. Routing does not look at this.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.addresses.load().iter().any(|address| address.is_healthy())
    }

    /// Begins a try, the first of a request or another, by the least loaded address; not by one that it
    /// failed at while there is another, nor by one that is left out.
    pub(crate) fn begin(
        self: &Arc<Self>,
        failed_at: &[SocketAddr],
        first: bool,
        now: Instant,
    ) -> Result<Attempt, Unavailable> {
        if first {
            self.budget.deposit();
        }
        let breaker = self.breaker.as_ref().map(|breaker| breaker.admit(now)).transpose();
        let breaker = breaker.map_err(|refused| {
            self.counters.refused_open.inc();
            Unavailable::Open { retry_after: refused.retry_after }
        })?;
        match self.enter(failed_at, now) {
            Ok((entered, address)) => Ok(Attempt::new(self.clone(), entered, Tickets { breaker, address })),
            Err(unavailable) => {
                if let Some((breaker, ticket)) = self.breaker.as_ref().zip(breaker) {
                    breaker.record(ticket, Outcome::Unknown, now, || true);
                }
                if unavailable == Unavailable::Overloaded {
                    self.counters.refused_overloaded.inc();
                }
                Err(unavailable)
            }
        }
    }

    /// Enters its capacity and that of an address.
    fn enter(&self, failed_at: &[SocketAddr], now: Instant) -> Result<(Arc<Address>, Ticket), Unavailable> {
        if !self.capacity.try_enter() {
            return Err(Unavailable::Overloaded);
        }
        let entered = self.enter_address(failed_at, now);
        if entered.is_err() {
            self.capacity.leave();
        }
        entered
    }

    /// Where a copy of a request goes: an address that would take a request, by this much patience and a
    /// connection of its own. Nothing is counted for it, neither load nor failures: copies decide about nothing
    /// that requests meet.
    pub(crate) fn peer_for_copy(&self, now: Instant) -> Option<HttpPeer> {
        if self.breaker.as_ref().is_some_and(|breaker| !breaker.would_admit(now)) {
            return None;
        }
        let addresses: Vec<_> = self.addresses.load().iter().cloned().collect();
        let load = |place: usize| {
            let address: &Arc<Address> = &addresses[place];
            address.gate.would_admit(now).then(|| address.capacity.in_flight())
        };
        let place = balance::least_loaded(addresses.len(), load)?;
        Some(self.template.peer(addresses[place].at, Connection::Any))
    }

    fn enter_address(&self, failed_at: &[SocketAddr], now: Instant) -> Result<(Arc<Address>, Ticket), Unavailable> {
        let addresses = self.addresses.load();
        if addresses.len() == 0 {
            return Err(Unavailable::Unreachable);
        }
        if !failed_at.is_empty()
            && let Some(entered) = addresses.enter_least_loaded(now, |address| !failed_at.contains(&address.at))
        {
            return Ok(entered);
        }
        addresses.enter_least_loaded(now, |_| true).ok_or(Unavailable::Overloaded)
    }

    /// Whether it has an address that is neither among these nor left out.
    pub(crate) fn has_other_than(&self, failed_at: &[SocketAddr], now: Instant) -> bool {
        self.addresses.load().iter().any(|address| !failed_at.contains(&address.at) && address.gate.would_admit(now))
    }

    /// Asks its budget for one more try of a request that failed.
    pub(crate) fn may_repeat(&self, now: Instant) -> bool {
        let allowed = self.budget.withdraw(now);
        let counter = if allowed { &self.counters.retried } else { &self.counters.budget_exhausted };
        counter.inc();
        allowed
    }

    fn ejecting(&self) -> MutexGuard<'_, ()> {
        self.ejecting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_eject_another(&self) -> bool {
        let addresses = self.addresses.load();
        addresses.ejected() < self.config.ejection.max_ejected(addresses.len())
    }

    fn breaker_changed(&self, change: Option<Change>) {
        match change {
            Some(Change::Opened(open_for)) => {
                self.counters.breaker_opened.inc();
                tracing::warn!(upstream = %self.name, open_ms = open_for.as_millis(), "circuit breaker opened");
            }
            Some(Change::Closed) => tracing::info!(upstream = %self.name, "circuit breaker closed"),
            None => {}
        }
    }
}
