//! Leaves a side of a route alone for a moment that has no answer to be compared, copy after copy. Most of those cost
//! a connection of their own, so such a side would cost more than one that answers.

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
            Err(Dropped::OtherUnavailable | Dropped::OtherBroken | Dropped::OtherTimeout | Dropped::OtherTooLarge) => {
                if self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= self.after {
                    self.begin(self.until_us.load(Ordering::Relaxed), now);
                }
            }
            Err(_) => {}
            Ok(_) if self.failures.load(Ordering::Relaxed) == 0 => {}
            Ok(_) => {
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
    fn only_what_happens_in_a_row_and_is_the_other_sides_doing_counts() {
        let begun = Instant::now();
        let rest = Rest::new(2, SECOND, begun);
        for _ in 0..5 {
            rest.ended(&Err::<(), _>(Dropped::Memory), begun);
        }
        rest.ended(&Err::<(), _>(Dropped::OtherTooLarge), begun);
        rest.ended(&Ok(()), begun);
        rest.ended(&Err::<(), _>(Dropped::OtherTimeout), begun);
        assert!(rest.may_copy(begun));
        rest.ended(&Err::<(), _>(Dropped::OtherTooLarge), begun);
        assert!(!rest.may_copy(begun));
    }
}
