//! When an issuer's published keys are fetched, and who waits for that.
//!
//! One task fetches for each issuer, so fetches never overlap. A request with a key id that nobody
//! knows asks for a fetch and waits for the end of one that began after it asked. The task keeps a
//! least time between two fetches, whoever asks: random key ids cost their sender time and the issuer
//! one fetch in each such time, while a good token signed with a new key only waits a little.

use std::time::Duration;

use tokio::{
    sync::{Notify, Semaphore, watch},
    time,
};

/// The longest time between two tries while fetching fails.
const MAX_RETRY: Duration = Duration::from_secs(30);

/// Fetches so far.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    begun: u64,
    ended: u64,
    /// Whether the latest that ended brought keys.
    succeeded: bool,
}

/// What became of asking for a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The keys are as the issuer has them now.
    Fetched,
    /// They could not be fetched in time, or too many were waiting already.
    Failed,
}

/// The meeting point of requests and the task.
#[derive(Debug)]
pub(super) struct Refresh {
    progress: watch::Sender<Progress>,
    wanted: Notify,
    waiting: Semaphore,
    times: Times,
}

/// How often is often enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// From one fetch to the next that nobody asks for.
    pub(super) interval: Duration,
    /// At least this long from the beginning of one fetch to that of the next.
    pub(super) cooldown: Duration,
    /// The longest that one fetch takes.
    pub(super) timeout: Duration,
}

impl Times {
    /// How long nobody needs to fetch after this many failures in a row.
    fn pause(&self, failures: u32) -> Duration {
        match failures {
            0 => self.interval,
            _ => {
                let longer = self.cooldown.saturating_mul(2_u32.saturating_pow(failures - 1));
                longer.min(MAX_RETRY).min(self.interval).max(self.cooldown)
            }
        }
    }
}

impl Refresh {
    pub(super) fn new(times: Times, most_waiting: usize) -> Self {
        Self { progress: watch::Sender::default(), wanted: Notify::new(), waiting: Semaphore::new(most_waiting), times }
    }

    /// Asks for a fetch, and waits for one that began after this was called.
    pub(super) async fn ask(&self) -> Asked {
        let Ok(_place) = self.waiting.try_acquire() else { return Asked::Failed };
        let mut progress = self.progress.subscribe();
        let awaited = progress.borrow().begun + 1;
        self.wanted.notify_one();
        // The fetch before may still be running, and the pause after it begins with it.
        let longest = self.times.cooldown + 2 * self.times.timeout;
        match time::timeout(longest, progress.wait_for(|progress| progress.ended >= awaited)).await {
            Ok(Ok(progress)) if progress.succeeded => Asked::Fetched,
            _ => Asked::Failed,
        }
    }

    /// The side of the task that fetches.
    pub(super) fn rounds(&self) -> Rounds<'_> {
        Rounds { refresh: self, failures: 0, earliest: time::Instant::now() }
    }
}

/// The fetches of the one task, one after the other.
#[derive(Debug)]
pub(super) struct Rounds<'r> {
    refresh: &'r Refresh,
    /// In a row.
    failures: u32,
    /// When the next one may begin.
    earliest: time::Instant,
}

impl Rounds<'_> {
    /// A fetch begins.
    pub(super) fn begin(&mut self) {
        self.earliest = time::Instant::now() + self.refresh.times.cooldown;
        self.refresh.progress.send_modify(|progress| progress.begun += 1);
    }

    /// It has ended.
    pub(super) fn end(&mut self, succeeded: bool) {
        self.failures = if succeeded { 0 } else { self.failures.saturating_add(1) };
        self.refresh.progress.send_modify(|progress| {
            progress.ended = progress.begun;
            progress.succeeded = succeeded;
        });
    }

    /// Waits until another one should begin.
    pub(super) async fn next(&self) {
        let pause = self.refresh.times.pause(self.failures);
        let _ = time::timeout(pause, self.refresh.wanted.notified()).await;
        time::sleep_until(self.earliest).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::Arc};

    use super::*;

    const TIMES: Times =
        Times { interval: Duration::from_secs(300), cooldown: Duration::from_secs(1), timeout: Duration::from_secs(2) };

    #[test]
    fn failures_are_repeated_soon_and_then_less_often() {
        let pauses: Vec<u64> = (0..8).map(|failures| TIMES.pause(failures).as_secs()).collect();
        assert_eq!(pauses, [300, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(TIMES.pause(u32::MAX), MAX_RETRY);
        let short = Times { interval: Duration::from_secs(3), ..TIMES };
        assert_eq!(short.pause(9), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn many_questions_cost_one_fetch_in_each_cooldown() {
        let refresh = Refresh::new(TIMES, 100);
        let fetches = Cell::new(0);
        let fetching = async {
            let mut rounds = refresh.rounds();
            loop {
                rounds.begin();
                fetches.set(fetches.get() + 1);
                rounds.end(true);
                rounds.next().await;
            }
        };
        let asking = async {
            let started = time::Instant::now();
            while started.elapsed() < Duration::from_secs(10) {
                assert_eq!(refresh.ask().await, Asked::Fetched);
            }
        };
        tokio::select! {
            _ = fetching => unreachable!("it never ends"),
            () = asking => {}
        }
        assert!((10..=12).contains(&fetches.get()), "{} fetches in ten seconds", fetches.get());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_a_fetch_may_take_nor_in_a_longer_line() {
        let refresh = Arc::new(Refresh::new(TIMES, 1));
        let started = time::Instant::now();
        let first = tokio::spawn({
            let refresh = refresh.clone();
            async move { refresh.ask().await }
        });
        tokio::task::yield_now().await;
        assert_eq!(refresh.ask().await, Asked::Failed, "the line is full");
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(first.await.expect("it does not panic"), Asked::Failed, "nobody fetches");
        assert_eq!(started.elapsed(), Duration::from_secs(5));
    }
}
