//! Who holds which worker: every decision of the pool, without a clock, a task or a process.
//!
//! The pool calls in with what happened (a call came, a start ended, a worker came back) and does
//! what the returned [`Action`]s say. A worker is always in exactly one place: starting, idle,
//! busy, or gone; `total` counts the first three and never passes `max_workers`.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use domain::FunctionId;
use tokio::time::Instant;

use crate::{
    executor::StartError,
    function::{Function, Version},
};

/// How much of everything there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Workers of all functions together: starting, idle and busy.
    pub max_workers: usize,
    /// Calls of one function that wait beyond those that a slot is free for.
    pub max_queue: usize,
    /// Workers of all functions that start at once.
    pub max_starts: usize,
    /// Workers of one function that start at once.
    pub max_starts_per_function: usize,
}

/// One function's share of the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Workers that do not stop for being idle, nor give way to others.
    pub least: usize,
    /// Workers at a time, which is the number of calls that run at once.
    pub most: usize,
}

/// Names one waiting call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What to do now. `W` is a worker, `R` the way to reply to a waiting call.
#[derive(Debug)]
pub enum Action<W, R> {
    /// Start a worker; report with `started` or `start_failed`.
    Start(Start),
    /// Give a worker to a waiting call; it comes back with `released` or `lost`.
    Grant(R, Grant<W>),
    /// Stop a worker. Nothing is to be reported.
    Kill(W),
    /// A waiting call is refused because the pool closes.
    Refuse(R),
    /// Tell a waiting call that the start it waited for failed.
    Fail(R, StartError),
}

/// A start that was decided.
#[derive(Debug, Clone)]
pub struct Start {
    /// For which function, as the waiting call knew it.
    pub function: Arc<Function>,
    generation: u64,
}

/// A worker in a caller's hand.
#[derive(Debug)]
pub struct Grant<W> {
    /// The worker.
    pub worker: W,
    /// Whether it was there before the call had to wait for its start.
    pub is_warm: bool,
    slot: Slot,
}

/// The slot that a granted worker holds.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    function: FunctionId,
    version: Version,
    generation: u64,
}

impl<W> Grant<W> {
    /// The slot to report about.
    pub fn slot(&self) -> Slot {
        self.slot
    }
}

/// What became of a call that came.
#[derive(Debug)]
pub enum Admission<W> {
    /// A worker was idle.
    Granted(Grant<W>),
    /// The call waits.
    Queued(Ticket),
    /// As many calls wait as may.
    Full,
    /// The pool closes.
    Closed,
}

/// How many workers and calls there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Workers that start.
    pub starting: usize,
    /// Workers that wait for a call.
    pub idle: usize,
    /// Workers that run one.
    pub busy: usize,
    /// Calls that wait for a worker.
    pub waiting: usize,
}

impl Counts {
    fn workers(self) -> usize {
        self.starting + self.idle + self.busy
    }
}

struct Idle<W> {
    worker: W,
    version: Version,
    since: Instant,
}

struct Waiter<R> {
    ticket: Ticket,
    function: Arc<Function>,
    version: Version,
    reply: R,
}

struct Slots<W, R> {
    /// Longest idle first.
    idle: VecDeque<Idle<W>>,
    busy: usize,
    starting: usize,
    /// Longest waiting first.
    waiting: VecDeque<Waiter<R>>,
    /// Workers of an earlier generation are not used again.
    generation: u64,
    share: Share,
}

impl<W, R> Slots<W, R> {
    fn new(share: Share) -> Self {
        Self { idle: VecDeque::new(), busy: 0, starting: 0, waiting: VecDeque::new(), generation: 0, share }
    }

    /// Whether an idle worker may give way to another function.
    fn can_give_way(&self) -> bool {
        !self.idle.is_empty() && self.workers() > self.share.least
    }

    /// Stops the idle workers of other versions; answers how many.
    fn drop_stale<A>(&mut self, version: Version, actions: &mut Vec<Action<W, A>>) -> usize {
        let before = self.idle.len();
        while let Some(stale) = self.idle.iter().position(|idle| idle.version != version) {
            let stale = self.idle.remove(stale).expect("the position was found just now");
            actions.push(Action::Kill(stale.worker));
        }
        before - self.idle.len()
    }

    fn workers(&self) -> usize {
        self.idle.len() + self.busy + self.starting
    }

    fn is_unused(&self) -> bool {
        self.workers() == 0 && self.waiting.is_empty()
    }

    fn take_waiter(&mut self, version: Version) -> Option<Waiter<R>> {
        let position = self.waiting.iter().position(|waiter| waiter.version == version)?;
        self.waiting.remove(position)
    }
}

/// The pool's books.
pub struct Ledger<W, R> {
    limits: Limits,
    functions: HashMap<FunctionId, Slots<W, R>>,
    /// Functions with waiting calls that no start is under way for.
    hungry: HashSet<FunctionId>,
    counts: Counts,
    next_ticket: u64,
    closed: bool,
}

impl<W, R> Ledger<W, R> {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            functions: HashMap::new(),
            hungry: HashSet::new(),
            counts: Counts::default(),
            next_ticket: 0,
            closed: false,
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Workers of one function that run a call.
    #[cfg(test)]
    pub fn busy_of(&self, function: FunctionId) -> usize {
        self.functions.get(&function).map_or(0, |slots| slots.busy)
    }

    /// A call came. Idle workers of another version of its function are stopped.
    pub fn admit(
        &mut self,
        function: &Arc<Function>,
        version: Version,
        share: Share,
        reply: impl FnOnce() -> R,
        actions: &mut Vec<Action<W, R>>,
    ) -> Admission<W> {
        if self.closed {
            return Admission::Closed;
        }
        let slots = self.functions.entry(function.id).or_insert_with(|| Slots::new(share));
        slots.share = share;
        self.counts.idle -= slots.drop_stale(version, actions);
        // The latest idle one: its memory is the warmest, and the others age out.
        if let Some(idle) = slots.idle.pop_back() {
            slots.busy += 1;
            self.counts.idle -= 1;
            self.counts.busy += 1;
            let slot = Slot { function: function.id, version, generation: slots.generation };
            return Admission::Granted(Grant { worker: idle.worker, is_warm: true, slot });
        }
        let free = share.most.saturating_sub(slots.busy);
        if slots.waiting.len() >= free + self.limits.max_queue {
            return Admission::Full;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        slots.waiting.push_back(Waiter { ticket, function: Arc::clone(function), version, reply: reply() });
        self.counts.waiting += 1;
        self.settle(function.id);
        self.feed(actions);
        Admission::Queued(ticket)
    }

    /// The function is to have its least workers, of this version, though nobody calls it.
    pub fn ensure(
        &mut self,
        function: &Arc<Function>,
        version: Version,
        share: Share,
        actions: &mut Vec<Action<W, R>>,
    ) {
        if self.closed {
            return;
        }
        let slots = self.functions.entry(function.id).or_insert_with(|| Slots::new(share));
        slots.share = share;
        self.counts.idle -= slots.drop_stale(version, actions);
        while let Some(slots) = self.functions.get_mut(&function.id) {
            let wanted = slots.workers() < share.least.min(share.most)
                && slots.starting < self.limits.max_starts_per_function
                && self.counts.starting < self.limits.max_starts;
            let has_room = self.counts.workers() < self.limits.max_workers;
            if !wanted || !(has_room || self.evict_longest_idle(actions)) {
                break;
            }
            let slots = self.functions.get_mut(&function.id).expect("its workers were counted just now");
            let start = Start { function: Arc::clone(function), generation: slots.generation };
            slots.starting += 1;
            self.counts.starting += 1;
            actions.push(Action::Start(start));
        }
        self.settle(function.id);
        self.feed(actions);
    }

    /// A waiting call left.
    pub fn abandoned(&mut self, function: FunctionId, ticket: Ticket) {
        if let Some(slots) = self.functions.get_mut(&function) {
            let before = slots.waiting.len();
            slots.waiting.retain(|waiter| waiter.ticket != ticket);
            self.counts.waiting -= before - slots.waiting.len();
        }
        self.settle(function);
    }

    /// A start ended well.
    pub fn started(&mut self, start: &Start, worker: W, now: Instant, actions: &mut Vec<Action<W, R>>) {
        self.end_start(start.function.id);
        let slot =
            Slot { function: start.function.id, version: start.function.version(), generation: start.generation };
        self.place(slot, worker, false, now, actions);
    }

    /// A start failed. When the reason lies in the function, every call that waits for the same
    /// version has its answer; otherwise only the longest waiting one, and the others try again.
    pub fn start_failed(&mut self, start: &Start, error: &StartError, actions: &mut Vec<Action<W, R>>) {
        let lies_in_function = matches!(error, StartError::Function { .. });
        let id = start.function.id;
        let version = start.function.version();
        self.end_start(id);
        while let Some(waiter) = self.functions.get_mut(&id).and_then(|slots| slots.take_waiter(version)) {
            self.counts.waiting -= 1;
            actions.push(Action::Fail(waiter.reply, error.clone()));
            if !lies_in_function {
                break;
            }
        }
        self.settle(id);
        self.feed(actions);
    }

    /// A granted worker came back fit for another call.
    pub fn released(&mut self, slot: Slot, worker: W, now: Instant, actions: &mut Vec<Action<W, R>>) {
        self.end_busy(slot.function);
        self.place(slot, worker, true, now, actions);
    }

    /// A granted worker will not come back.
    pub fn lost(&mut self, slot: Slot, actions: &mut Vec<Action<W, R>>) {
        self.end_busy(slot.function);
        self.settle(slot.function);
        self.feed(actions);
    }

    /// The function is gone or changed: its idle workers stop now, the others when they are done.
    pub fn evict(&mut self, function: FunctionId, actions: &mut Vec<Action<W, R>>) {
        if let Some(slots) = self.functions.get_mut(&function) {
            slots.generation += 1;
            self.counts.idle -= slots.idle.len();
            actions.extend(slots.idle.drain(..).map(|idle| Action::Kill(idle.worker)));
        }
        self.settle(function);
        self.feed(actions);
    }

    /// Stops the workers that have been idle since `before` or longer.
    pub fn expire(&mut self, before: Instant, actions: &mut Vec<Action<W, R>>) {
        let counts = &mut self.counts;
        self.functions.retain(|_, slots| {
            while slots.can_give_way() && slots.idle.front().is_some_and(|idle| idle.since <= before) {
                let idle = slots.idle.pop_front().expect("the front was seen just now");
                counts.idle -= 1;
                actions.push(Action::Kill(idle.worker));
            }
            !slots.is_unused()
        });
        self.feed(actions);
    }

    /// Stops idle workers, refuses waiting calls and whatever comes later. Busy workers end their
    /// call and stop then.
    pub fn close(&mut self, actions: &mut Vec<Action<W, R>>) {
        self.closed = true;
        self.hungry.clear();
        for slots in self.functions.values_mut() {
            self.counts.idle -= slots.idle.len();
            self.counts.waiting -= slots.waiting.len();
            actions.extend(slots.idle.drain(..).map(|idle| Action::Kill(idle.worker)));
            actions.extend(slots.waiting.drain(..).map(|waiter| Action::Refuse(waiter.reply)));
        }
        self.functions.retain(|_, slots| !slots.is_unused());
    }

    fn end_start(&mut self, function: FunctionId) {
        let slots = self.functions.get_mut(&function).expect("a start keeps its function's slots");
        slots.starting -= 1;
        self.counts.starting -= 1;
    }

    fn end_busy(&mut self, function: FunctionId) {
        let slots = self.functions.get_mut(&function).expect("a granted worker keeps its function's slots");
        slots.busy -= 1;
        self.counts.busy -= 1;
    }

    /// Finds a place for a worker that is neither starting nor busy any more.
    fn place(&mut self, slot: Slot, worker: W, is_warm: bool, now: Instant, actions: &mut Vec<Action<W, R>>) {
        let must_yield = self.must_yield(slot.function);
        let slots = self.functions.get_mut(&slot.function).expect("the worker's place is in these slots");
        let is_current = !self.closed && slots.generation == slot.generation;
        if !is_current || must_yield {
            actions.push(Action::Kill(worker));
        } else if let Some(waiter) = slots.take_waiter(slot.version) {
            slots.busy += 1;
            self.counts.busy += 1;
            self.counts.waiting -= 1;
            actions.push(Action::Grant(waiter.reply, Grant { worker, is_warm, slot }));
        } else if slots.waiting.is_empty() {
            slots.idle.push_back(Idle { worker, version: slot.version, since: now });
            self.counts.idle += 1;
        } else {
            // Those who wait know the function as it is now; this worker is of an older version.
            actions.push(Action::Kill(worker));
        }
        self.settle(slot.function);
        self.feed(actions);
    }

    /// Fair share at the global limit: a place that becomes free goes to a function that has fewer than this one has
    /// left, until both have as many; of two that have none, to that whose call has waited longer. (So of
    /// two functions with one place between them, neither starts an interpreter for every call.)
    fn must_yield(&self, function: FunctionId) -> bool {
        let is_full = self.counts.workers() + 1 >= self.limits.max_workers;
        if self.hungry.is_empty() || !is_full || self.functions.values().any(Slots::can_give_way) {
            return false;
        }
        let head = |slots: &Slots<W, R>| slots.waiting.front().map(|waiter| waiter.ticket);
        let Some(own) = self.functions.get(&function) else { return false };
        self.hungry.iter().filter_map(|other| self.functions.get(other)).any(|other| {
            let waits_longer = || head(own).is_none_or(|own| head(other).is_some_and(|other| other < own));
            let gains = other.workers() < own.workers() || (other.workers() + own.workers() == 0 && waits_longer());
            gains && other.workers() < other.share.most && own.workers() >= own.share.least
        })
    }

    /// Brings `hungry` up to date for one function, and forgets it when nothing of it is left.
    fn settle(&mut self, function: FunctionId) {
        match self.functions.get(&function) {
            Some(slots) if slots.waiting.len() > slots.starting => {
                self.hungry.insert(function);
            }
            Some(slots) => {
                self.hungry.remove(&function);
                if slots.is_unused() {
                    self.functions.remove(&function);
                }
            }
            None => {
                self.hungry.remove(&function);
            }
        }
    }

    /// Starts what may be started.
    fn feed(&mut self, actions: &mut Vec<Action<W, R>>) {
        while !self.closed && self.counts.starting < self.limits.max_starts {
            let Some(function) = self.hungriest() else { return };
            if self.counts.workers() >= self.limits.max_workers && !self.evict_longest_idle(actions) {
                return;
            }
            let slots = self.functions.get_mut(&function).expect("a hungry function has waiting calls");
            // Waiting calls before this one have a start under way each.
            let waiter = &slots.waiting[slots.starting];
            let start = Start { function: Arc::clone(&waiter.function), generation: slots.generation };
            slots.starting += 1;
            self.counts.starting += 1;
            actions.push(Action::Start(start));
            self.settle(function);
        }
    }

    /// Those with the fewest workers first, then by how long their call has waited.
    fn hungriest(&self) -> Option<FunctionId> {
        let next_start = |function: &FunctionId| {
            let slots = self.functions.get(function)?;
            let may_start = slots.starting < self.limits.max_starts_per_function && slots.workers() < slots.share.most;
            let waiter = slots.waiting.get(slots.starting).filter(|_| may_start)?;
            Some((slots.workers(), waiter.ticket, *function))
        };
        self.hungry
            .iter()
            .filter_map(next_start)
            .min_by_key(|(workers, ticket, _)| (*workers, *ticket))
            .map(|next| next.2)
    }

    fn evict_longest_idle(&mut self, actions: &mut Vec<Action<W, R>>) -> bool {
        let longest = self
            .functions
            .iter()
            .filter(|(_, slots)| slots.can_give_way())
            .filter_map(|(function, slots)| slots.idle.front().map(|idle| (idle.since, *function)))
            .min_by_key(|(since, _)| *since);
        let Some((_, function)) = longest else { return false };
        let slots = self.functions.get_mut(&function).expect("it was found just now");
        let idle = slots.idle.pop_front().expect("it was found just now");
        self.counts.idle -= 1;
        actions.push(Action::Kill(idle.worker));
        self.settle(function);
        true
    }
}
