//! The keys of one issuer that are in force, replaced as a whole.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwapOption, Guard};

use super::key_set::KeySet;

/// For keys that nothing makes stale.
const FOR_EVER: u64 = u64::MAX;

/// The keys, if there are any yet.
#[derive(Debug)]
pub(super) struct LiveKeys {
    current: ArcSwapOption<Generation>,
    /// Until when the keys may be used, in milliseconds since `started`.
    good_until_ms: AtomicU64,
    started: Instant,
}

/// One set of keys.
#[derive(Debug)]
pub(super) struct Generation {
    /// Goes up with each replacement: what was verified with an older set counts no more.
    pub(super) number: u64,
    pub(super) set: KeySet,
}

impl LiveKeys {
    /// Without any.
    pub(super) fn none() -> Self {
        Self { current: ArcSwapOption::empty(), good_until_ms: AtomicU64::new(0), started: Instant::now() }
    }

    /// The keys that may be used now.
    pub(super) fn get(&self, now: Instant) -> Option<Guard<Option<Arc<Generation>>>> {
        let age_ms = milliseconds(now.saturating_duration_since(self.started));
        let current = self.current.load();
        (current.is_some() && age_ms < self.good_until_ms.load(Ordering::Acquire)).then_some(current)
    }

    /// Puts a set in force.
    pub(super) fn replace(&self, set: KeySet) {
        let number = self.current.load().as_ref().map_or(0, |generation| generation.number + 1);
        self.current.store(Some(Arc::new(Generation { number, set })));
    }

    /// Says that the keys in force were seen to be the issuer's now, and how long that will do; for
    /// ever without a limit.
    pub(super) fn confirm(&self, now: Instant, good_for: Option<Duration>) {
        let until = good_for.map_or(FOR_EVER, |good_for| {
            milliseconds(now.saturating_duration_since(self.started).saturating_add(good_for))
        });
        self.good_until_ms.store(until, Ordering::Release);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(FOR_EVER)
}

#[cfg(test)]
mod tests {
    use super::{super::key::VerificationKey, *};

    #[test]
    fn keys_are_used_until_nobody_has_confirmed_them_for_too_long() {
        let keys = LiveKeys::none();
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        assert!(keys.get(start).is_none());
        keys.replace(KeySet::only(VerificationKey::secret(&[7; 32]).expect("long enough")));
        keys.confirm(start, Some(minute));
        let number = |now| keys.get(now).map(|found| found.as_ref().expect("some").number);
        assert_eq!(number(start), Some(0));
        assert_eq!(number(start + 2 * minute), None, "stale");
        keys.confirm(start + 2 * minute, Some(minute));
        assert_eq!(number(start + 2 * minute), Some(0));
        keys.replace(KeySet::only(VerificationKey::secret(&[8; 32]).expect("long enough")));
        assert_eq!(number(start), Some(1));
        keys.confirm(start, None);
        assert_eq!(number(start + 1_000_000 * minute), Some(1));
    }
}
