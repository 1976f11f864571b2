use std::{net::SocketAddr, sync::Arc};

use pingora::upstreams::peer::HttpPeer;

use super::{Upstream, address::Address};
use crate::route_table::UpstreamId;

/// One try to serve a request by one address of an upstream. It counts as in flight while this lives.
pub(crate) struct Attempt {
    upstream: Arc<Upstream>,
    address: Arc<Address>,
}

impl Attempt {
    /// Both capacities have been entered for it; dropping it leaves them.
    pub(super) fn new(upstream: Arc<Upstream>, address: Arc<Address>) -> Self {
        Self { upstream, address }
    }

    /// The upstream.
    pub(crate) fn upstream(&self) -> UpstreamId {
        self.upstream.id
    }

    /// The address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.at
    }

    /// Where pingora is to connect.
    pub(crate) fn peer(&self) -> HttpPeer {
        self.upstream.template.peer(self.address.at)
    }

    /// Notes that the connection was made.
    pub(crate) fn connected(&self) {
        if self.address.clear_trouble() {
            tracing::info!(upstream = %self.upstream.name, address = %self.address.at, "upstream address reached again");
        }
    }

    /// Notes that it could not be.
    pub(crate) fn connect_failed(&self, error: &pingora::Error) {
        let trouble = error.to_string();
        if self.address.set_trouble(trouble) {
            let (upstream, address) = (&self.upstream.name, self.address.at);
            tracing::warn!(%upstream, %address, %error, "upstream address cannot be reached");
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.address.capacity.leave();
        self.upstream.capacity.leave();
    }
}
