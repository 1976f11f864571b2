use std::{net::SocketAddr, sync::Arc};

use super::Upstream;
use crate::config::HostPort;

/// The addresses that each host of an upstream had when it last resolved.
pub(super) struct Resolved(Vec<(HostPort, Vec<SocketAddr>)>);

impl Resolved {
    pub(super) fn new(upstream: &Upstream) -> Self {
        let known = |host: &HostPort| (host.clone(), host.literal().into_iter().collect());
        Self(upstream.hosts.iter().map(known).collect())
    }

    /// Looks every name up. A name that does not resolve keeps the addresses that it had: a resolver
    /// that is down takes nothing away.
    pub(super) async fn refresh(&mut self, upstream: &Upstream) {
        let mut asked = false;
        for (host, addresses) in self.0.iter_mut().filter(|(host, _)| host.literal().is_none()) {
            asked = true;
            match tokio::net::lookup_host((host.host.as_str(), host.port)).await {
                Ok(found) => {
                    let mut found: Vec<_> = found.collect();
                    // Resolvers turn the order with every answer; what is the same shall look the same.
                    found.sort_unstable();
                    if !found.is_empty() {
                        *addresses = found;
                    }
                }
                Err(error) => tracing::debug!(upstream = %upstream.name, %host, %error, "host name not found"),
            }
        }
        let now = self.0.iter().flat_map(|(_, addresses)| addresses).copied();
        if asked {
            upstream.set_addresses(now);
        }
    }
}

impl Upstream {
    fn set_addresses(&self, wanted: impl Iterator<Item = SocketAddr>) {
        let before = self.addresses.load();
        let after = before.reconciled(wanted, &self.config);
        let same = before.len() == after.len() && before.iter().zip(after.iter()).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            let addresses: Vec<_> = after.iter().map(|address| address.at).collect();
            tracing::info!(upstream = %self.name, ?addresses, "upstream addresses changed");
            self.addresses.store(Arc::new(after));
        }
    }
}
