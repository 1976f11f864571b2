//! The addresses of an upstream, and which of them takes a request.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwapOption;

use super::capacity::Capacity;

/// The most addresses of one upstream. A name that resolves to more is used in part.
pub(crate) const MAX_ADDRESSES: usize = 64;

/// One address, for as long as the upstream has it: what is known of it survives looking its name up
/// again, as long as the answer has it.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) at: SocketAddr,
    pub(crate) capacity: Capacity,
    /// Whether it answered its latest probe. No request is refused because of it.
    healthy: AtomicBool,
    /// Why it could not be reached, the last time that it could not; none once it could again.
    trouble: ArcSwapOption<String>,
}

impl Address {
    fn new(at: SocketAddr, cap: Option<u32>) -> Self {
        Self { at, capacity: Capacity::new(cap), healthy: AtomicBool::new(false), trouble: ArcSwapOption::empty() }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub(crate) fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    /// Notes why it could not be reached. `true` when it could before, so that the log says it once.
    pub(crate) fn set_trouble(&self, trouble: String) -> bool {
        self.trouble.swap(Some(Arc::new(trouble))).is_none()
    }

    /// Notes that it could be reached. `true` when it could not before.
    pub(crate) fn clear_trouble(&self) -> bool {
        // Looked at first: this is asked with every connection, and is almost never so.
        self.trouble.load().is_some() && self.trouble.swap(None).is_some()
    }

    pub(crate) fn trouble(&self) -> Option<Arc<String>> {
        self.trouble.load_full()
    }
}

/// The addresses as they are now.
#[derive(Debug, Default)]
pub(crate) struct AddressSet(Box<[Arc<Address>]>);

impl AddressSet {
    /// The set for these addresses, in their order and each once, that keeps what this one knows of
    /// them.
    pub(crate) fn reconciled(&self, wanted: impl IntoIterator<Item = SocketAddr>, cap: Option<u32>) -> Self {
        let mut addresses: Vec<Arc<Address>> = Vec::new();
        for at in wanted {
            if addresses.len() < MAX_ADDRESSES && !addresses.iter().any(|known| known.at == at) {
                let known = self.0.iter().find(|known| known.at == at);
                addresses.push(known.map_or_else(|| Arc::new(Address::new(at, cap)), Arc::clone));
            }
        }
        Self(addresses.into())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Address>> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, index: usize) -> &Arc<Address> {
        &self.0[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    fn shown(set: &AddressSet) -> Vec<SocketAddr> {
        set.iter().map(|address| address.at).collect()
    }

    #[test]
    fn what_is_known_of_an_address_survives_a_look_up() {
        let before = AddressSet::default().reconciled([at(1), at(2)], Some(1));
        assert!(before.get(1).capacity.try_enter());
        let after = before.reconciled([at(3), at(2), at(3)], Some(1));
        assert_eq!(shown(&after), [at(3), at(2)]);
        assert!(Arc::ptr_eq(before.get(1), after.get(1)) && !after.get(1).capacity.try_enter());
    }

    #[test]
    fn a_name_with_very_many_addresses_is_used_in_part() {
        let many = (0..=255).map(at);
        assert_eq!(AddressSet::default().reconciled(many, None).len(), MAX_ADDRESSES);
    }

    #[test]
    fn trouble_is_news_once() {
        let address = Address::new(at(1), None);
        assert!(!address.clear_trouble() && address.set_trouble("a".to_owned()));
        assert!(!address.set_trouble("b".to_owned()) && address.trouble().is_some_and(|last| *last == "b"));
        assert!(address.clear_trouble() && !address.clear_trouble());
    }
}
