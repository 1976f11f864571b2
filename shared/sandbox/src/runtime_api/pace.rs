//! How often a runtime may knock: what it costs the host to answer is not in the function's own accounts.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Connections and requests that come at once; filled up by each call, which needs four at most.
const BURST: f64 = 64.0;
/// What is added in a second without calls.
const PER_SECOND: f64 = 128.0;

/// A bucket of knocks.
#[derive(Debug)]
pub(super) struct Pace(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    knocks: f64,
    at: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Bucket { knocks: BURST, at: now }))
    }

    /// A call begins.
    pub(super) fn refill(&self, now: Instant) {
        self.bucket(|bucket| *bucket = Bucket { knocks: BURST, at: now });
    }

    /// Waits until the runtime may knock.
    pub(super) async fn knock(&self) {
        while let Some(wait) = self.take(Instant::now()) {
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes a knock, or says how long there is none.
    fn take(&self, now: Instant) -> Option<Duration> {
        self.bucket(|bucket| {
            let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
            bucket.knocks = (bucket.knocks + passed * PER_SECOND).min(BURST);
            bucket.at = now;
            if bucket.knocks >= 1.0 {
                bucket.knocks -= 1.0;
                return None;
            }
            Some(Duration::from_secs_f64((1.0 - bucket.knocks) / PER_SECOND))
        })
    }

    fn bucket<T>(&self, act: impl FnOnce(&mut Bucket) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_slowed_down_and_a_call_is_not() {
        let start = Instant::now();
        let pace = Pace::new(start);
        let free = (0..1000).take_while(|_| pace.take(start).is_none()).count();
        assert_eq!(free, 64);
        let later = start + Duration::from_millis(500);
        let free = (0..1000).take_while(|_| pace.take(later).is_none()).count();
        assert_eq!(free, 64);
        let wait = pace.take(later).expect("the bucket is empty");
        assert!(wait <= Duration::from_millis(8), "{wait:?}");
        pace.refill(later);
        assert_eq!(pace.take(later), None);
    }
}
