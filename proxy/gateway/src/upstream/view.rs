use serde::Serialize;

use super::Upstream;

/// An upstream as it stands, for the admin API.
#[derive(Debug, Serialize)]
pub(crate) struct UpstreamView<'a> {
    name: &'a str,
    /// The addresses as configured.
    address: String,
    healthy: bool,
    in_flight: u32,
    addresses: Vec<AddressView>,
}

/// One of its addresses.
#[derive(Debug, Serialize)]
struct AddressView {
    address: String,
    healthy: bool,
    in_flight: u32,
    /// Why it could not be reached, until it can be.
    problem: Option<String>,
}

impl<'a> UpstreamView<'a> {
    pub(crate) fn new(upstream: &'a Upstream) -> Self {
        let addresses = upstream.addresses.load();
        let addresses = addresses.iter().map(|address| AddressView {
            address: address.at.to_string(),
            healthy: address.is_healthy(),
            in_flight: address.capacity.in_flight(),
            problem: address.trouble().map(|trouble| trouble.to_string()),
        });
        Self {
            name: &upstream.name,
            address: upstream.address(),
            healthy: upstream.is_healthy(),
            in_flight: upstream.capacity.in_flight(),
            addresses: addresses.collect(),
        }
    }
}
