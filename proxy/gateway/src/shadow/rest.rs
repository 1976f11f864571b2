//! Leaves a side alone for a moment that cannot be reached, or breaks off, copy after copy. Each of those costs a
//! connection of its own, so a dead side would cost more than one that answers.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::outcome::Dropped;

/// Whether a side is left alone. A race between two copies may let one more or one less through.
pub(super) struct Rest {
    after: u32,
    lasts: Duration,
    born: Instant,
    /// How many copies in a row have failed.
    failures: AtomicU32,
    /// Until when nothing is sent, in microseconds since `born`; 0 while nothing is wrong.
    until_us: AtomicU64,
}

impl Rest {
    /// Rests for `lasts` once `after` copies in a row have failed.
    pub(super) fn new(after: u32, lasts: Duration, now: Instant) -> Self {
        Self { after, lasts, born: now, failures: AtomicU32::new(0), until_us: AtomicU64::new(0) }
    }

    /// Whether a copy may be made now. After each rest one may, which finds out whether all may.
    pub(super) fn may_copy(&self, now: Instant) -> bool {
        let until = self.until_us.load(Ordering::Relaxed);
        until == 0 || (self.us(now) >= until && self.begin(until, now))
    }

    /// Takes in how a copy ended.
    pub(super) fn ended<T>(&self, how: &Result<T, Dropped>, now: Instant) {
        match how {
            Err(Dropped::OtherUnavailable | Dropped::OtherBroken) => {
                if self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= self.after {
                    self.begin(self.until_us.load(Ordering::Relaxed), now);
                }
            }
            // Slow is not gone, and copies that wait cost little.
            Err(Dropped::OtherTimeout) => {}
            _ if self.failures.load(Ordering::Relaxed) == 0 => {}
            _ => {
                self.failures.store(0, Ordering::Relaxed);
                self.until_us.store(0, Ordering::Relaxed);
            }
        }
    }

    fn begin(&self, known: u64, now: Instant) -> bool {
        let until = self.us(now + self.lasts).max(1);
        self.until_us.compare_exchange(known, until, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn us(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.born).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_side_that_fails_in_a_row_gets_one_copy_in_each_rest() {
        let begun = Instant::now();
        let rest = Rest::new(3, SECOND, begun);
        for _ in 0..2 {
            rest.ended(&Err::<(), _>(Dropped::OtherBroken), begun);
            assert!(rest.may_copy(begun));
        }
        rest.ended(&Err::<(), _>(Dropped::OtherUnavailable), begun);
        assert!(!rest.may_copy(begun) && !rest.may_copy(begun + SECOND / 2));
        assert!(rest.may_copy(begun + SECOND), "one finds out");
        assert!(!rest.may_copy(begun + SECOND), "and only one");
        rest.ended(&Err::<(), _>(Dropped::OtherBroken), begun + SECOND);
        assert!(!rest.may_copy(begun + SECOND * 3 / 2));
        assert!(rest.may_copy(begun + SECOND * 2));
        rest.ended(&Ok(()), begun + SECOND * 2);
        assert!(rest.may_copy(begun + SECOND * 2) && rest.may_copy(begun + SECOND * 2));
    }

    #[test]
    fn a_side_that_is_slow_or_answers_too_much_is_there() {
        let begun = Instant::now();
        let rest = Rest::new(2, SECOND, begun);
        for there in [Dropped::OtherTimeout, Dropped::OtherTooLarge, Dropped::Stream] {
            for _ in 0..5 {
                rest.ended(&Err::<(), _>(there), begun);
            }
            assert!(rest.may_copy(begun), "{there:?}");
        }
        rest.ended(&Err::<(), _>(Dropped::OtherBroken), begun);
        rest.ended(&Err::<(), _>(Dropped::OtherTooLarge), begun);
        rest.ended(&Err::<(), _>(Dropped::OtherBroken), begun);
        assert!(rest.may_copy(begun), "they were not in a row");
    }
}
