//! The gate of one slice in one gateway: open, or closed by a fence.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};

use super::metrics::GateMetrics;

/// What a gate may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The longest that a fence may stand, and that one write may wait.
    pub(crate) hold: Duration,
    /// How many writes may wait.
    pub(crate) waiting: usize,
    /// How much their bodies may take, in bytes.
    pub(crate) waiting_bytes: u64,
}

/// How long a fence is to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    /// From when it is placed, whatever is renewed.
    pub(crate) bound: Duration,
    /// From when it is placed or was renewed last.
    pub(crate) lease: Duration,
}

/// Why a fence was not placed, renewed or lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FenceError {
    #[error("another fence stands; its holder lifts it, or its lease ends")]
    HeldByAnother,
    #[error("no fence of this token stands; writes have passed since, so place it anew")]
    NotHeld,
    #[error("the bound is longer than the slice's `max_hold`, or a duration is zero")]
    BadHold,
}

/// Why a write is not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// As many wait as may.
    TooMany {
        /// When the fence is lifted at the latest.
        retry_after: Duration,
    },
    /// It has waited for as long as it may.
    TooLong,
}

/// How a fence stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) token: String,
    /// How long it has stood.
    pub(crate) held: Duration,
    /// How long it stands yet if it is not renewed.
    pub(crate) left: Duration,
    /// Writes in flight when it was placed.
    pub(crate) found: usize,
    /// Writes in flight now.
    pub(crate) in_flight: usize,
    /// How long after the placing there was none.
    pub(crate) drained_after: Option<Duration>,
    /// Writes that wait.
    pub(crate) waiting: usize,
    /// What their bodies take, in bytes.
    pub(crate) waiting_bytes: u64,
}

/// See the module.
pub(crate) struct Gate {
    limits: Limits,
    /// Writes that were let through and have not ended. One that finds the gate closed is counted for an instant.
    writes: AtomicUsize,
    /// Changed under the lock of `state` only.
    closed: AtomicBool,
    state: Mutex<State>,
    metrics: GateMetrics,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    fence: Option<Standing>,
    /// Those who wait, in the order they came.
    waiting: BTreeMap<u64, Waiter>,
    waiting_bytes: u64,
    tickets: u64,
}

struct Standing {
    token: String,
    placed: Instant,
    until: Instant,
    bound: Instant,
    found: usize,
    drained_after: Option<Duration>,
}

struct Waiter {
    bytes: u64,
    wake: oneshot::Sender<()>,
}

/// A write that was let through; in flight until this is dropped.
pub(crate) struct Write(Arc<Gate>);

impl Drop for Write {
    fn drop(&mut self) {
        self.0.left();
    }
}

/// A place among those who wait; given up when dropped.
struct Place<'a> {
    gate: &'a Gate,
    ticket: u64,
    woken: oneshot::Receiver<()>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.locked();
        if let Some(waiter) = state.waiting.remove(&self.ticket) {
            state.waiting_bytes -= waiter.bytes;
            self.gate.metrics.waiting.dec();
        }
    }
}

impl Gate {
    pub(super) fn new(limits: Limits, metrics: GateMetrics, changed: Arc<Notify>) -> Self {
        let (writes, closed, state) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::default());
        Self { limits, writes, closed, state, metrics, changed }
    }

    /// Lets a write through, at once where no fence stands. `bytes` is what its body takes while it waits.
    ///
    /// Counted first and looked at the gate second, while a fence closes first and counts second: of a write
    /// and a fence that come at once, at least one sees the other.
    pub(crate) async fn enter(self: &Arc<Self>, bytes: u64) -> Result<Write, Held> {
        let mut came = None;
        loop {
            self.writes.fetch_add(1, SeqCst);
            if !self.closed.load(SeqCst) {
                if let Some(came) = came {
                    self.metrics.waited(Instant::now().duration_since(came));
                }
                return Ok(Write(self.clone()));
            }
            self.left();
            let now = Instant::now();
            let came = *came.get_or_insert(now);
            let Some(mut place) = self.queue(bytes, now).inspect_err(|_| self.metrics.too_many.inc())? else {
                continue;
            };
            if timeout_at(came + self.limits.hold, &mut place.woken).await.is_err() {
                self.metrics.too_long.inc();
                return Err(Held::TooLong);
            }
        }
    }

    /// Takes a place among those who wait; none where the fence has just been lifted.
    fn queue(&self, bytes: u64, now: Instant) -> Result<Option<Place<'_>>, Held> {
        let mut state = self.locked();
        let Some(fence) = &state.fence else { return Ok(None) };
        if state.waiting.len() >= self.limits.waiting
            || state.waiting_bytes.saturating_add(bytes) > self.limits.waiting_bytes
        {
            return Err(Held::TooMany { retry_after: fence.until.duration_since(now) });
        }
        let (wake, woken) = oneshot::channel();
        let ticket = state.tickets;
        state.tickets += 1;
        state.waiting_bytes += bytes;
        state.waiting.insert(ticket, Waiter { bytes, wake });
        self.metrics.waiting.inc();
        Ok(Some(Place { gate: self, ticket, woken }))
    }

    /// A write has ended, or was counted by mistake.
    fn left(&self) {
        if self.writes.fetch_sub(1, SeqCst) == 1 && self.closed.load(SeqCst) {
            self.locked().drained(&self.writes, &self.changed);
        }
    }

    /// Places a fence.
    pub(crate) fn place(&self, token: &str, hold: Hold, now: Instant) -> Result<Fence, FenceError> {
        self.check(hold)?;
        let mut state = self.locked();
        self.expire_in(&mut state, now);
        if state.fence.is_some() {
            return Err(FenceError::HeldByAnother);
        }
        self.close(&mut state, token, hold, now);
        Ok(self.shown(&state, now).expect("one stands"))
    }

    /// Whether a fence may stand for so long.
    pub(super) fn check(&self, hold: Hold) -> Result<(), FenceError> {
        let possible = hold.bound <= self.limits.hold && !hold.bound.is_zero() && !hold.lease.is_zero();
        possible.then_some(()).ok_or(FenceError::BadHold)
    }

    /// A fence of the fleet stands, for so long yet.
    pub(super) fn stand_behind(&self, token: &str, left: Duration, now: Instant) {
        let mut state = self.locked();
        match &mut state.fence {
            Some(fence) if fence.token == token => fence.until = fence.bound.min(now + left),
            _ => self.close(&mut state, token, Hold { bound: self.limits.hold, lease: left }, now),
        }
    }

    /// No fence of the fleet stands.
    pub(super) fn stand_back(&self, now: Instant) {
        let mut state = self.locked();
        if state.fence.is_some() {
            self.open(&mut state, now, &self.metrics.lifted);
        }
    }

    fn close(&self, state: &mut State, token: &str, hold: Hold, now: Instant) {
        let bound = now + hold.bound;
        let until = bound.min(now + hold.lease);
        self.closed.store(true, SeqCst);
        let found = self.writes.load(SeqCst);
        let (token, drained_after) = (token.to_owned(), None);
        state.fence = Some(Standing { token, placed: now, until, bound, found, drained_after });
        state.drained(&self.writes, &self.changed);
        self.metrics.placed();
        self.changed.notify_waiters();
    }

    /// Renews the lease of a fence that stands.
    pub(crate) fn renew(&self, token: &str, lease: Duration, now: Instant) -> Result<Fence, FenceError> {
        let mut state = self.locked();
        self.expire_in(&mut state, now);
        let fence = state.fence.as_mut().filter(|fence| fence.token == token).ok_or(FenceError::NotHeld)?;
        fence.until = fence.bound.min(now + lease);
        self.changed.notify_waiters();
        Ok(self.shown(&state, now).expect("one stands"))
    }

    /// Lifts a fence; whoever waits goes on, in the order they came. Returns how long it stood.
    pub(crate) fn lift(&self, token: &str, now: Instant) -> Result<Duration, FenceError> {
        let mut state = self.locked();
        self.expire_in(&mut state, now);
        match &state.fence {
            Some(fence) if fence.token == token => Ok(self.open(&mut state, now, &self.metrics.lifted)),
            _ => Err(FenceError::NotHeld),
        }
    }

    /// Lifts a fence that has stood for as long as it may. When the next one has, if one stands.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut state = self.locked();
        self.expire_in(&mut state, now);
        state.fence.as_ref().map(|fence| fence.until)
    }

    fn expire_in(&self, state: &mut State, now: Instant) {
        if state.fence.as_ref().is_some_and(|fence| fence.until <= now) {
            let held = self.open(state, now, &self.metrics.expired);
            let held_ms = held.as_millis();
            tracing::warn!(slice = %self.metrics.slice, held_ms, "the fence was not renewed, so it is lifted");
        }
    }

    fn open(&self, state: &mut State, now: Instant, ended: &prometheus::IntCounter) -> Duration {
        let held = state.fence.take().map(|fence| now.duration_since(fence.placed)).unwrap_or_default();
        self.closed.store(false, SeqCst);
        state.waiting_bytes = 0;
        for (_, waiter) in std::mem::take(&mut state.waiting) {
            self.metrics.waiting.dec();
            // Whoever has given up meanwhile takes nothing from those behind.
            let _ = waiter.wake.send(());
        }
        ended.inc();
        self.metrics.held(held);
        self.changed.notify_waiters();
        held
    }

    /// The fence that stands.
    pub(crate) fn fence(&self, now: Instant) -> Option<Fence> {
        let mut state = self.locked();
        self.expire_in(&mut state, now);
        self.shown(&state, now)
    }

    fn shown(&self, state: &State, now: Instant) -> Option<Fence> {
        state.fence.as_ref().map(|fence| Fence {
            token: fence.token.clone(),
            held: now.duration_since(fence.placed),
            left: fence.until.duration_since(now),
            found: fence.found,
            in_flight: self.writes.load(SeqCst),
            drained_after: fence.drained_after,
            waiting: state.waiting.len(),
            waiting_bytes: state.waiting_bytes,
        })
    }

    /// Each change of the state is whole before anything can panic.
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes that no write is in flight. Once noted it stays so: the gate is closed.
    fn drained(&mut self, writes: &AtomicUsize, changed: &Notify) {
        let Some(fence) = self.fence.as_mut().filter(|fence| fence.drained_after.is_none()) else { return };
        if writes.load(SeqCst) == 0 {
            fence.drained_after = Some(fence.placed.elapsed());
            changed.notify_waiters();
        }
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
