//! What is asked of the services, what they have answered, and how much of it has ended.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::PgPool;

/// Between two looks at how far the others are, and at what has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How much is asked.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) builds: usize,
    pub(super) calls: usize,
    pub(super) events: usize,
}

pub(super) struct Answered {
    pub(super) wanted: Wanted,
    /// Functions by job.
    builds: Mutex<HashMap<String, String>>,
    executions: Mutex<Vec<String>>,
    failed_calls: AtomicUsize,
    next_build: AtomicUsize,
    next_event: AtomicUsize,
    ended_builds: AtomicUsize,
    ended_events: AtomicUsize,
}

impl Answered {
    /// `asked` builds are asked for already.
    pub(super) fn new(wanted: Wanted, asked: usize) -> Self {
        Self {
            wanted,
            builds: Mutex::default(),
            executions: Mutex::default(),
            failed_calls: AtomicUsize::new(0),
            next_build: AtomicUsize::new(asked),
            next_event: AtomicUsize::new(0),
            ended_builds: AtomicUsize::new(0),
            ended_events: AtomicUsize::new(0),
        }
    }

    pub(super) fn build(&self, job: String, function: String) {
        locked(&self.builds).insert(job, function);
    }

    /// The function of each job.
    pub(super) fn functions(&self) -> Vec<String> {
        locked(&self.builds).values().cloned().collect()
    }

    pub(super) fn execution(&self, id: String) {
        locked(&self.executions).push(id);
    }

    pub(super) fn executions(&self) -> Vec<String> {
        locked(&self.executions).clone()
    }

    pub(super) fn failed_call(&self) {
        self.failed_calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn has_enough_calls(&self) -> bool {
        locked(&self.executions).len() >= self.wanted.calls
    }

    /// The next build to be asked for, once as large a part of the calls has been answered: so all three go on as long as
    /// each, and whatever dies meets them all.
    pub(super) async fn next_build(&self) -> Option<usize> {
        self.next(&self.next_build, self.wanted.builds).await
    }

    /// The next event to be sent, likewise.
    pub(super) async fn next_event(&self) -> Option<usize> {
        self.next(&self.next_event, self.wanted.events).await
    }

    async fn next(&self, next: &AtomicUsize, wanted: usize) -> Option<usize> {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= wanted {
            return None;
        }
        while locked(&self.executions).len() * wanted < number * self.wanted.calls {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Some(number)
    }

    /// Between 0 and 1: the mean of the parts of builds, calls and events that have ended.
    pub(super) fn progress(&self) -> f64 {
        let part = |ended: usize, wanted: usize| ended.min(wanted) as f64 / wanted.max(1) as f64;
        let builds = part(self.ended_builds.load(Ordering::Relaxed), self.wanted.builds);
        let calls = part(locked(&self.executions).len(), self.wanted.calls);
        let events = part(self.ended_events.load(Ordering::Relaxed), self.wanted.events);
        (builds + calls + events) / 3.0
    }

    /// Looks into both services' databases, whenever they are there, until every build and every event has ended.
    pub(super) async fn watch_ends(&self, build: &PgPool, lambda: &PgPool) {
        let builds =
            "SELECT count(*) FROM build_service.build_jobs WHERE state IN ('completed', 'failed', 'cancelled')";
        let events = "SELECT count(*) FROM lambda_service.event_audit";
        loop {
            for (pool, statement, ended) in [(build, builds, &self.ended_builds), (lambda, events, &self.ended_events)]
            {
                if let Ok(count) = sqlx::query_scalar::<_, i64>(statement).fetch_one(pool).await {
                    ended.store(usize::try_from(count).unwrap_or(0), Ordering::Relaxed);
                }
            }
            let ended = [&self.ended_builds, &self.ended_events].map(|ended| ended.load(Ordering::Relaxed));
            if ended[0] >= self.wanted.builds && ended[1] >= self.wanted.events {
                return;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} builds and {} events have ended, {} calls were answered and {} failed",
            self.ended_builds.load(Ordering::Relaxed),
            self.ended_events.load(Ordering::Relaxed),
            locked(&self.executions).len(),
            self.failed_calls.load(Ordering::Relaxed)
        )
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
