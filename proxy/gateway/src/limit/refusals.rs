//! What Redis has refused, and until when nothing can change that.
//!
//! Between two requests use only drains, at a known rate. So once Redis has refused a subject, every
//! gateway can tell when it will next admit one, and a flood of refused requests costs no round trips.
//! A refusal counts for the quota it was made with: another quota asks again.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{budget::Flow, charge::Charge};

/// Refusals that are remembered; a new one takes the place of another. A power of two.
const SLOTS: usize = 4_096;

/// The longest a refusal is remembered: budgets may vanish, with a Redis that starts empty.
const LONGEST: Duration = Duration::from_secs(1);

pub(super) struct Refusals {
    hasher: RandomState,
    slots: Box<[Mutex<Option<Refusal>>]>,
}

#[derive(Clone, Copy)]
struct Refusal {
    hash: u64,
    flow: Flow,
    used: f64,
    asked: Instant,
    until: Instant,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), slots: (0..SLOTS).map(|_| Mutex::default()).collect() }
    }

    /// Remembers a charge that Redis has refused, if this is the policy that did not have room.
    pub(super) fn remember(&self, charge: &Charge<'_>, asked: Instant) {
        if charge.flow.fits(charge.used) {
            return;
        }
        let hash = self.hash(charge);
        let until = asked + charge.flow.wait(charge.used).min(LONGEST);
        *self.slot(hash) = Some(Refusal { hash, flow: charge.flow, used: charge.used, asked, until });
    }

    /// The charge with what its subject has used now, when it is still known to be refused.
    pub(super) fn find<'a>(&self, charge: &Charge<'a>) -> Option<Charge<'a>> {
        let hash = self.hash(charge);
        let known = (*self.slot(hash))?;
        let now = Instant::now();
        if known.hash != hash || known.flow != charge.flow || now >= known.until {
            return None;
        }
        let drained = (now - known.asked).as_secs_f64() * 1e6 * known.flow.per_us;
        let used = known.used - drained;
        // Rounding must not turn the last microsecond into an admission.
        (!charge.flow.fits(used)).then_some(Charge { used, ..*charge })
    }

    fn hash(&self, charge: &Charge<'_>) -> u64 {
        self.hasher.hash_one((charge.policy, charge.subject))
    }

    fn slot(&self, hash: u64) -> MutexGuard<'_, Option<Refusal>> {
        let index = usize::try_from(hash).unwrap_or(usize::MAX) % SLOTS;
        self.slots[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
