//! The addresses of an upstream, and which of them takes a request.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwapOption;

use super::{
    balance,
    capacity::Capacity,
    circuit::{Gate, Ticket},
};
use crate::config::UpstreamConfig;

/// The most addresses of one upstream. A name that resolves to more is used in part.
pub(crate) const MAX_ADDRESSES: usize = 64;

/// One address, for as long as the upstream has it: what is known of it survives looking its name up
/// again, as long as the answer has it.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) at: SocketAddr,
    pub(crate) capacity: Capacity,
    /// Keeps requests away while it is left out.
    pub(crate) gate: Gate,
    /// Whether it answered its latest probe. No request is refused because of it.
    healthy: AtomicBool,
    /// Why it could not be reached, the last time that it could not; none once it could again.
    trouble: ArcSwapOption<String>,
}

impl Address {
    fn new(at: SocketAddr, config: &UpstreamConfig) -> Self {
        Self {
            at,
            capacity: Capacity::new(config.max_concurrent_per_address),
            gate: Gate::new(config.ejection.settings(), Instant::now()),
            healthy: AtomicBool::new(false),
            trouble: ArcSwapOption::empty(),
        }
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
    pub(crate) fn reconciled(&self, wanted: impl IntoIterator<Item = SocketAddr>, config: &UpstreamConfig) -> Self {
        let mut addresses: Vec<Arc<Address>> = Vec::new();
        for at in wanted {
            if addresses.len() < MAX_ADDRESSES && !addresses.iter().any(|known| known.at == at) {
                let known = self.0.iter().find(|known| known.at == at);
                addresses.push(known.map_or_else(|| Arc::new(Address::new(at, config)), Arc::clone));
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

    /// How many are left out, or on probation.
    pub(crate) fn ejected(&self) -> usize {
        self.iter().filter(|address| !address.gate.is_closed()).count()
    }

    /// Enters the least loaded of those which have room and are not left out.
    pub(crate) fn enter_least_loaded(
        &self,
        now: Instant,
        of: impl Fn(&Address) -> bool,
    ) -> Option<(Arc<Address>, Ticket)> {
        // All are left out when names were looked up again and the well ones are gone. Then it is as if
        // none were: something may still work.
        let all_left_out = self.iter().all(|address| !address.gate.would_admit(now));
        let load = |place: usize| {
            let address = &self.0[place];
            let takes = of(address) && !address.capacity.is_full() && (all_left_out || address.gate.would_admit(now));
            takes.then(|| address.capacity.in_flight())
        };
        // Somebody else may take the last room of the one that was picked. Then it has none, and the next
        // look picks another.
        while let Some(place) = balance::least_loaded(self.len(), load) {
            let address = &self.0[place];
            if address.capacity.try_enter() {
                match address.gate.admit(now) {
                    Ok(ticket) => return Some((address.clone(), ticket)),
                    Err(_) if all_left_out => return Some((address.clone(), Ticket::VOID)),
                    Err(_) => address.capacity.leave(),
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::EjectionConfig, upstream::circuit::Outcome};

    fn config(cap: u32) -> UpstreamConfig {
        UpstreamConfig { max_concurrent_per_address: Some(cap), ..UpstreamConfig::default() }
    }

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    fn shown(set: &AddressSet) -> Vec<SocketAddr> {
        set.iter().map(|address| address.at).collect()
    }

    #[test]
    fn what_is_known_of_an_address_survives_a_look_up() {
        let before = AddressSet::default().reconciled([at(1), at(2)], &config(1));
        assert!(before.0[1].capacity.try_enter());
        let after = before.reconciled([at(3), at(2), at(3)], &config(1));
        assert_eq!(shown(&after), [at(3), at(2)]);
        assert!(Arc::ptr_eq(&before.0[1], &after.0[1]) && !after.0[1].capacity.try_enter());
    }

    #[test]
    fn a_name_with_very_many_addresses_is_used_in_part() {
        let many = (0..=255).map(at);
        assert_eq!(AddressSet::default().reconciled(many, &config(1)).len(), MAX_ADDRESSES);
    }

    #[test]
    fn trouble_is_news_once() {
        let address = Address::new(at(1), &config(1));
        assert!(!address.clear_trouble() && address.set_trouble("a".to_owned()));
        assert!(!address.set_trouble("b".to_owned()) && address.trouble().is_some_and(|last| *last == "b"));
        assert!(address.clear_trouble() && !address.clear_trouble());
    }

    #[test]
    fn when_all_are_left_out_it_is_as_if_none_were() {
        let ejection = EjectionConfig { consecutive_failures: 1, ..EjectionConfig::default() };
        let set = AddressSet::default().reconciled([at(1), at(2)], &UpstreamConfig { ejection, ..config(9) });
        let now = Instant::now();
        let fail = |place: usize| {
            let ticket = set.0[place].gate.admit(now).expect("it is in");
            assert!(set.0[place].gate.record(ticket, Outcome::Failure, now, || true).is_some());
        };
        fail(0);
        for _ in 0..4 {
            assert_eq!(set.enter_least_loaded(now, |_| true).expect("one is in").0.at, at(2));
        }
        fail(1);
        assert_eq!(set.ejected(), 2);
        assert_eq!(set.enter_least_loaded(now, |_| true).expect("better than none").0.at, at(1));
    }
}
