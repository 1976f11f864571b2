use std::sync::atomic::{AtomicU32, Ordering};

/// Counts what is in flight, up to a cap.
#[derive(Debug)]
pub(crate) struct Capacity {
    in_flight: AtomicU32,
    cap: u32,
}

impl Capacity {
    /// With this cap, or as good as none.
    pub(crate) fn new(cap: Option<u32>) -> Self {
        Self { in_flight: AtomicU32::new(0), cap: cap.unwrap_or(u32::MAX) }
    }

    /// Counts one more, unless the cap is reached. Never above the cap, not for a moment: a compare
    /// and swap, where adding first and looking afterwards would refuse some who still fit.
    pub(crate) fn try_enter(&self) -> bool {
        let one_more = |count| (count < self.cap).then(|| count + 1);
        self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok()
    }

    /// Counts one less; only after [`Capacity::try_enter`] said yes.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.in_flight() >= self.cap
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_cap_holds_whoever_comes_at_once() {
        let capacity = Capacity::new(Some(3));
        let highest = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if capacity.try_enter() {
                            highest.fetch_max(capacity.in_flight(), Ordering::Relaxed);
                            capacity.leave();
                        }
                    }
                });
            }
        });
        assert!(highest.into_inner() <= 3 && capacity.in_flight() == 0);
    }
}
