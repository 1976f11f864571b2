use std::time::Instant;

use serde::Serialize;

use super::{Upstream, circuit::Phase};

/// An upstream as it stands, for the admin API.
#[derive(Debug, Serialize)]
pub(crate) struct UpstreamView<'a> {
    name: &'a str,
    /// The addresses as configured.
    address: String,
    healthy: bool,
    in_flight: u32,
    /// The circuit breaker's state: `closed`, `open` or `probation`; nothing without one.
    breaker: Option<&'static str>,
    /// How much longer it is open.
    breaker_open_ms: Option<u128>,
    addresses: Vec<AddressView>,
}

/// One of its addresses.
#[derive(Debug, Serialize)]
struct AddressView {
    address: String,
    healthy: bool,
    in_flight: u32,
    /// `closed` while it serves, `open` while it is left out because it failed, `probation` in between.
    circuit: &'static str,
    /// How much longer it is left out.
    ejected_ms: Option<u128>,
    /// Why it could not be reached, until it can be.
    problem: Option<String>,
}

impl<'a> UpstreamView<'a> {
    pub(crate) fn new(upstream: &'a Upstream) -> Self {
        let addresses = upstream.addresses.load();
        let now = Instant::now();
        let addresses = addresses.iter().map(|address| AddressView {
            address: address.at.to_string(),
            healthy: address.is_healthy(),
            in_flight: address.capacity.in_flight(),
            circuit: address.gate.phase(now).as_str(),
            ejected_ms: open_ms(address.gate.phase(now)),
            problem: address.trouble().map(|trouble| trouble.to_string()),
        });
        let breaker = upstream.breaker.as_ref().map(|breaker| breaker.phase(now));
        Self {
            name: &upstream.name,
            address: upstream.address(),
            healthy: upstream.is_healthy(),
            in_flight: upstream.capacity.in_flight(),
            breaker: breaker.map(Phase::as_str),
            breaker_open_ms: breaker.and_then(open_ms),
            addresses: addresses.collect(),
        }
    }
}

fn open_ms(phase: Phase) -> Option<u128> {
    match phase {
        Phase::Open(left) => Some(left.as_millis()),
        Phase::Closed | Phase::Probation => None,
    }
}
