use std::{net::SocketAddr, os::fd::RawFd, sync::Arc, time::Instant};

use pingora::upstreams::peer::HttpPeer;

use super::{
    Upstream,
    address::Address,
    circuit::{Change, Outcome, Ticket},
    peer::Connection,
    pooled_connection::{self, Use},
};
use crate::{config::UpstreamProtocol, resilience::FailureKind};

/// One try to serve a request by one address of an upstream. It counts as in flight while this lives.
pub(crate) struct Attempt {
    upstream: Arc<Upstream>,
    address: Arc<Address>,
    /// Until the outcome is known.
    tickets: Option<Tickets>,
}

/// The rights to one request.
pub(super) struct Tickets {
    pub(super) breaker: Option<Ticket>,
    pub(super) address: Ticket,
}

impl Attempt {
    /// Both capacities have been entered for it; dropping it leaves them.
    pub(super) fn new(upstream: Arc<Upstream>, address: Arc<Address>, tickets: Tickets) -> Self {
        Self { upstream, address, tickets: Some(tickets) }
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.at
    }

    /// Where pingora is to connect, and with which connection.
    pub(crate) fn peer(&self, connection: Connection) -> HttpPeer {
        self.upstream.template.peer(self.address.at, connection)
    }

    /// Whether its connection serves no other request meanwhile.
    pub(crate) fn is_alone(&self) -> bool {
        self.used() == Use::Alone
    }

    fn used(&self) -> Use {
        match self.upstream.config.protocol {
            UpstreamProtocol::Http1 => Use::Alone,
            UpstreamProtocol::H2 | UpstreamProtocol::H2c => Use::Shared,
        }
    }

    /// Whether a connection from the pool has ended.
    pub(crate) fn has_ended(&self, connection: RawFd) -> bool {
        let ended = pooled_connection::has_ended(connection, self.used());
        if ended {
            self.upstream.counters.stale_connections.inc();
        }
        ended
    }

    /// Notes that a connection was made.
    pub(crate) fn connected(&self) {
        if self.address.clear_trouble() {
            tracing::info!(upstream = %self.upstream.name, address = %self.address.at, "upstream address reached again");
        }
    }

    /// Notes that none could be made.
    pub(crate) fn connect_failed(&mut self, error: &pingora::Error, now: Instant) {
        let trouble = error.to_string();
        if self.address.set_trouble(trouble) {
            let (upstream, address) = (&self.upstream.name, self.address.at);
            tracing::warn!(%upstream, %address, %error, "upstream address cannot be reached");
        }
        self.ended(Some(FailureKind::Connect), now);
    }

    /// Notes how it ended, with a failure or well; the first word counts.
    pub(crate) fn ended(&mut self, failure: Option<FailureKind>, now: Instant) {
        let failed = failure.is_some_and(|kind| self.upstream.config.failures.contains(kind));
        self.bring_back(if failed { Outcome::Failure } else { Outcome::Success }, now);
    }

    fn bring_back(&mut self, outcome: Outcome, now: Instant) {
        let Some(tickets) = self.tickets.take() else { return };
        if let Some((breaker, ticket)) = self.upstream.breaker.as_ref().zip(tickets.breaker) {
            let change = breaker.record(ticket, outcome, now, || true);
            self.upstream.breaker_changed(change);
        }
        // Of two addresses that fail at once, the second has to see that the first is gone.
        let _alone = (outcome == Outcome::Failure).then(|| self.upstream.ejecting());
        let may_eject = || self.upstream.may_eject_another();
        match self.address.gate.record(tickets.address, outcome, now, may_eject) {
            Some(Change::Opened(ejected_for)) => {
                self.upstream.counters.ejections.inc();
                let (upstream, address, ejected_ms) = (&self.upstream.name, self.address.at, ejected_for.as_millis());
                tracing::warn!(%upstream, %address, ejected_ms, "upstream address left out: it fails");
            }
            Some(Change::Closed) => {
                tracing::info!(upstream = %self.upstream.name, address = %self.address.at, "upstream address is well again");
            }
            None => {}
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.tickets.is_some() {
            self.bring_back(Outcome::Unknown, Instant::now());
        }
        self.address.capacity.leave();
        self.upstream.capacity.leave();
    }
}
