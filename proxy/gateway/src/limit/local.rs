//! Budgets in this process.
//!
//! A budget takes 40 bytes whatever its key: a key is known by a hash of 64 bits under a secret of this
//! process, so its length costs nothing and nobody can choose two keys that share a budget. By chance
//! two of a million keys do once in 30 million runs.
//!
//! Memory has a bound: `max_keys` for each policy. Whoever fills it must not gain by that, so **a budget
//! is only forgotten when it is as good as new**: all that was used has drained. When there is no such
//! budget to forget, further keys find no room and share one budget, that of the newcomers; and a key
//! that gets a place later starts from where that one stands. So a flood of keys can make newcomers wait
//! for each other, and can give nobody more than the rate and the burst. One policy's flood does not
//! touch another's.
//!
//! `governor` offers keyed limits too. It is not used because its limiter has one quota for all keys,
//! set when it is made, while here the rollout document changes rates, and those of single keys, at any
//! moment; because its keys are kept until somebody sweeps, with no bound; and because Redis has to
//! decide by the same arithmetic. The tests hold ours against governor's.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    budget::{Budget, Flow},
    charge::{Charge, Charges},
    metrics::LimitMetrics,
    policy::PolicyId,
};

/// Parts of a policy's table, each with a lock of its own. A power of two.
const SHARDS: usize = 64;

/// A full shard that has nothing to forget is not searched again before this time.
const SWEEP_PAUSE_US: u64 = 10_000;

/// The budgets of every policy.
pub(super) struct LocalStore {
    started: Instant,
    hasher: RandomState,
    /// By policy.
    tables: Box<[Box<[Mutex<Shard>]>]>,
}

#[derive(Default)]
struct Shard {
    budgets: HashMap<u64, Kept, BuildHasherDefault<Hashed>>,
    room: usize,
    newcomers: Budget,
    sweep_at_us: u64,
}

#[derive(Clone, Copy)]
struct Kept {
    budget: Budget,
    /// When it is as good as new. By the quota of its last request, as its key may have one of its own.
    drained_at_us: u64,
}

impl LocalStore {
    /// For this many policies of at most `max_keys` keys each.
    pub(super) fn new(policies: usize, max_keys: usize) -> Self {
        let room = max_keys.div_ceil(SHARDS);
        let shard = || Mutex::new(Shard { room, ..Shard::default() });
        let table = || (0..SHARDS).map(|_| shard()).collect();
        Self { started: Instant::now(), hasher: RandomState::new(), tables: (0..policies).map(|_| table()).collect() }
    }

    /// Charges the request if all of its policies admit it.
    pub(super) fn charge(&self, charges: &mut Charges<'_>, metrics: &LimitMetrics) -> bool {
        let now_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.charge_at(charges, now_us, metrics)
    }

    /// At this time, in microseconds since the store was made.
    pub(super) fn charge_at(&self, charges: &mut Charges<'_>, now_us: u64, metrics: &LimitMetrics) -> bool {
        self.charge_each(charges.as_mut_slice(), true, now_us, metrics)
    }

    /// Locks one policy after the other, and charges them on the way back, when it is known whether
    /// all of them admit the request. They come in the order of their ids, so no two requests wait for
    /// each other. `fits` is whether those before these admit it.
    fn charge_each(&self, charges: &mut [Option<Charge<'_>>], fits: bool, now_us: u64, metrics: &LimitMetrics) -> bool {
        let Some((Some(charge), others)) = charges.split_first_mut() else { return fits };
        let hash = self.hasher.hash_one(charge.subject);
        let mut shard = self.shard(charge.policy, hash);
        let used = shard.find(hash, now_us, charge, metrics).used_at(now_us, charge.flow);
        charge.used = used;
        // The others are asked in any case, so that the answer can tell how each of them stands.
        let admitted = self.charge_each(others, fits && charge.flow.fits(used), now_us, metrics);
        if admitted {
            charge.used = used + 1.0;
            shard.keep(hash, charge.used, now_us, charge.flow);
        }
        admitted
    }

    fn shard(&self, policy: PolicyId, hash: u64) -> MutexGuard<'_, Shard> {
        // The table takes the top bits and the bottom ones, so the shard takes others.
        let index = usize::try_from(hash >> 32).unwrap_or(0) % SHARDS;
        // Budgets are replaced whole, so a panic elsewhere leaves nothing half done.
        self.tables[policy.0][index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// The budget of this key; a new one where it has none and there is room.
    fn find(&mut self, hash: u64, now_us: u64, charge: &Charge<'_>, metrics: &LimitMetrics) -> Budget {
        if let Some(kept) = self.budgets.get(&hash) {
            return kept.budget;
        }
        if self.budgets.len() >= self.room {
            self.sweep(now_us, charge.policy, metrics);
        }
        if self.budgets.len() >= self.room {
            metrics.crowded(charge.policy);
        } else {
            let kept = Kept { budget: self.newcomers, drained_at_us: self.newcomers.drained_at_us(charge.flow) };
            self.budgets.insert(hash, kept);
            metrics.keys_changed(charge.policy, 1);
        }
        self.newcomers
    }

    fn keep(&mut self, hash: u64, used: f64, now_us: u64, flow: Flow) {
        match self.budgets.get_mut(&hash) {
            Some(kept) => {
                kept.budget = kept.budget.with_used(used, now_us);
                kept.drained_at_us = kept.budget.drained_at_us(flow);
            }
            None => self.newcomers = self.newcomers.with_used(used, now_us),
        }
    }

    /// Forgets what is as good as new. A shard of used budgets is not searched for every new key.
    fn sweep(&mut self, now_us: u64, policy: PolicyId, metrics: &LimitMetrics) {
        if now_us < self.sweep_at_us {
            return;
        }
        let before = self.budgets.len();
        self.budgets.retain(|_, kept| kept.drained_at_us > now_us);
        self.sweep_at_us = now_us + SWEEP_PAUSE_US;
        metrics.keys_changed(policy, self.budgets.len() as i64 - before as i64);
    }
}

/// Keys of the table are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        unreachable!("only 64-bit keys are hashed, not {} bytes", bytes.len());
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
