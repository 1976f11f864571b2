//! How often one key may count.

use std::time::Duration;

/// More keys than this with bad answers in one window share places, and the latest one has it.
const PLACES: usize = 512;

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    key: u64,
    window: u64,
    count: u32,
}

/// Counts bad answers by key and window.
#[derive(Debug, Clone)]
pub(crate) struct Bursts {
    places: Box<[Place]>,
    most: u32,
    window_ms: u128,
}

impl Bursts {
    pub(crate) fn new(most: u32, window: Duration) -> Self {
        Self { places: vec![Place::default(); PLACES].into(), most, window_ms: window.as_millis().max(1) }
    }

    /// Whether another bad answer of this key counts now.
    pub(crate) fn counts(&mut self, key: u64, now: Duration) -> bool {
        if self.most == 0 {
            return true;
        }
        // From 1, so that a place that was never used is of no window.
        let window = u64::try_from(now.as_millis() / self.window_ms).unwrap_or(u64::MAX - 1) + 1;
        #[expect(clippy::cast_possible_truncation, reason = "the low bits choose the place")]
        let place = &mut self.places[key as usize % PLACES];
        if (place.key, place.window) != (key, window) {
            *place = Place { key, window, count: 0 };
        }
        place.count = place.count.saturating_add(1);
        place.count <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_counts_a_few_times_in_each_window_and_hides_no_other_key() {
        let mut bursts = Bursts::new(2, Duration::from_secs(10));
        let mut counts = |key, seconds| bursts.counts(key, Duration::from_secs(seconds));
        assert_eq!([counts(7, 0), counts(7, 1), counts(7, 2), counts(7, 9)], [true, true, false, false]);
        assert!(counts(8, 2));
        assert!(counts(7, 10));
    }
}
