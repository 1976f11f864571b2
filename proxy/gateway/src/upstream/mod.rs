//! The sides that requests are sent to: their addresses, what may be in flight to them, and how to
//! connect.

mod address;
mod attempt;
mod balance;
mod capacity;
mod health;
mod peer;
mod resolve;
mod tls;
mod view;

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;

pub(crate) use attempt::Attempt;
pub use health::HealthProbe;
pub use tls::UpstreamTlsProblem;
pub(crate) use view::UpstreamView;

use crate::{
    config::{Config, HostPort, UpstreamConfig},
    route_table::UpstreamId,
};
use address::{Address, AddressSet};
use capacity::Capacity;
use peer::PeerTemplate;

/// One upstream.
pub struct Upstream {
    /// Its name in configuration.
    pub name: String,
    id: UpstreamId,
    config: UpstreamConfig,
    hosts: Vec<HostPort>,
    /// As the hosts resolve now.
    addresses: ArcSwap<AddressSet>,
    capacity: Capacity,
    template: PeerTemplate,
}

/// Every upstream, by id.
pub struct Upstreams(Vec<Arc<Upstream>>);

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
    /// None of its names resolves, or none of its addresses could be reached.
    Unreachable,
    /// As many requests as may be are in flight to it.
    Overloaded,
}

impl Upstreams {
    /// The configured upstreams; host names are looked up by the health probe.
    ///
    /// # Errors
    /// When an upstream's TLS files cannot be used.
    pub fn new(config: &Config) -> Result<Self, UpstreamError> {
        let upstreams = config.upstreams.iter().enumerate().map(|(index, (name, upstream))| {
            let upstream = Upstream::new(UpstreamId(index), name, upstream);
            upstream.map(Arc::new).map_err(|source| UpstreamError { upstream: name.clone(), source })
        });
        upstreams.collect::<Result<_, _>>().map(Self)
    }

    /// The upstream with this id.
    #[must_use]
    pub fn get(&self, id: UpstreamId) -> &Arc<Upstream> {
        &self.0[id.index()]
    }

    /// Every upstream with its id.
    pub fn iter(&self) -> impl Iterator<Item = (UpstreamId, &Arc<Upstream>)> {
        self.0.iter().map(|upstream| (upstream.id, upstream))
    }
}

impl Upstream {
    fn new(id: UpstreamId, name: &str, config: &UpstreamConfig) -> Result<Self, UpstreamTlsProblem> {
        let hosts = config.host_ports();
        let literals = hosts.iter().filter_map(HostPort::literal);
        let addresses = AddressSet::default().reconciled(literals, config.max_concurrent_per_address);
        Ok(Self {
            name: name.to_owned(),
            id,
            hosts,
            addresses: ArcSwap::from_pointee(addresses),
            capacity: Capacity::new(config.max_concurrent),
            template: PeerTemplate::new(id, config)?,
            config: config.clone(),
        })
    }

    /// Its hosts as configured, with commas between.
    #[must_use]
    pub fn address(&self) -> String {
        self.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Whether one of its addresses answered its latest probe. Routing does not look at this.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.addresses.load().iter().any(|address| address.is_healthy())
    }

    /// Begins to serve a request by the least loaded address, and not by one that it has `tried` while
    /// there is another.
    pub(crate) fn begin(self: &Arc<Self>, tried: &[SocketAddr]) -> Result<Attempt, Unavailable> {
        if !self.capacity.try_enter() {
            return Err(Unavailable::Overloaded);
        }
        match self.pick(tried) {
            Ok(address) => Ok(Attempt::new(self.clone(), address)),
            Err(unavailable) => {
                self.capacity.leave();
                Err(unavailable)
            }
        }
    }

    /// Whether it has an address that is not among these.
    pub(crate) fn has_other_than(&self, tried: &[SocketAddr]) -> bool {
        self.addresses.load().iter().any(|address| !tried.contains(&address.at))
    }

    /// Picks an address and enters its capacity.
    fn pick(&self, tried: &[SocketAddr]) -> Result<Arc<Address>, Unavailable> {
        let addresses = self.addresses.load();
        if addresses.len() == 0 {
            return Err(Unavailable::Unreachable);
        }
        let fresh = |address: &Address| !tried.contains(&address.at);
        let any = |_: &Address| true;
        let picked = if tried.is_empty() { None } else { enter_least_loaded(&addresses, fresh) };
        picked.or_else(|| enter_least_loaded(&addresses, any)).ok_or(Unavailable::Overloaded)
    }
}

/// Enters the capacity of the least loaded address of those.
fn enter_least_loaded(addresses: &AddressSet, of: impl Fn(&Address) -> bool) -> Option<Arc<Address>> {
    let load = |place: usize| {
        let address = addresses.get(place);
        (of(address) && !address.capacity.is_full()).then(|| address.capacity.in_flight())
    };
    // Somebody else may take the last room of the one picked; then it has none, and another is picked.
    while let Some(place) = balance::least_loaded(addresses.len(), load) {
        if addresses.get(place).capacity.try_enter() {
            return Some(addresses.get(place).clone());
        }
    }
    None
}
