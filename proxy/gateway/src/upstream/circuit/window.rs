use std::time::{Duration, Instant};

const SLOTS: usize = 10;

/// Requests and failures of the latest while, forgotten a tenth at a time.
#[derive(Debug)]
pub(super) struct Window {
    began: Instant,
    slot_length: Duration,
    /// The number, counted from the beginning, of the slot that is being filled.
    current: u64,
    slots: [Slot; SLOTS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    requests: u32,
    failures: u32,
}

impl Window {
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        let slot_length = (length / SLOTS as u32).max(Duration::from_millis(1));
        Self { began: now, slot_length, current: 0, slots: [Slot::default(); SLOTS] }
    }

    pub(super) fn count(&mut self, failed: bool, now: Instant) {
        self.advance(now);
        let slot = &mut self.slots[place(self.current)];
        slot.requests = slot.requests.saturating_add(1);
        slot.failures = slot.failures.saturating_add(failed.into());
    }

    /// Requests and failures.
    pub(super) fn totals(&mut self, now: Instant) -> (u32, u32) {
        self.advance(now);
        let add = |(requests, failures): (u32, u32), slot: &Slot| {
            (requests.saturating_add(slot.requests), failures.saturating_add(slot.failures))
        };
        self.slots.iter().fold((0, 0), add)
    }

    /// Empties the slots that have begun since. Time that goes back is as good as no time.
    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.began).as_nanos() / self.slot_length.as_nanos();
        let number = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let passed = number.saturating_sub(self.current).min(SLOTS as u64);
        for step in 1..=passed {
            self.slots[place(number - passed + step)] = Slot::default();
        }
        self.current = self.current.max(number);
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number % SLOTS as u64).expect("a remainder of ten fits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is younger than nine tenths of the window counts, and nothing older than the window.
        #[test]
        fn it_counts_what_is_young_and_forgets_what_is_old(
            steps in prop::collection::vec((0_u64..400, any::<bool>()), 1..200),
        ) {
            let start = Instant::now();
            let mut window = Window::new(Duration::from_millis(1_000), start);
            let mut counted = Vec::new();
            let mut at = 0;
            for (step, failed) in steps {
                at += step;
                window.count(failed, start + Duration::from_millis(at));
                counted.push((at, failed));
                let since = |age: u64| counted.iter().filter(move |(when, _)| when + age > at);
                let (requests, failures) = window.totals(start + Duration::from_millis(at));
                prop_assert!((since(900).count()..=since(1_000).count()).contains(&(requests as usize)));
                let failed = |age| since(age).filter(|(_, failed)| *failed).count();
                prop_assert!((failed(900)..=failed(1_000)).contains(&(failures as usize)));
            }
        }
    }
}
