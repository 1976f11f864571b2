//! Keys that an operator has put on a side, whatever the weight.

use std::collections::HashMap;

use crate::decision::Side;

/// The most pins that one route may have. A document with more wants a weight, or another key.
pub const MAX_PINS: usize = 10_000;

/// The longest key that may be pinned or given a limit of its own.
pub const MAX_KEY_BYTES: usize = 1_024;

/// The pinned keys of one route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pins(HashMap<Box<str>, Side>);

impl Pins {
    /// Where this key is pinned to, if it is.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Side> {
        // Most routes have no pins, and then nothing is hashed.
        if self.0.is_empty() { None } else { self.0.get(key).copied() }
    }

    /// Every pinned key, in the order of the keys.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&str, Side)> {
        let mut pins: Vec<_> = self.0.iter().map(|(key, side)| (key.as_ref(), *side)).collect();
        pins.sort_unstable();
        pins
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are left after a rollback, which voids every pin to the candidate. A pin to legacy
    /// stays: it was set to keep a key off the candidate, and that is where it stays.
    #[must_use]
    pub fn after_rollback(&self) -> Self {
        Self(self.0.iter().filter(|(_, side)| **side == Side::Legacy).map(|(key, side)| (key.clone(), *side)).collect())
    }
}

impl<'a> FromIterator<(&'a str, Side)> for Pins {
    fn from_iter<T: IntoIterator<Item = (&'a str, Side)>>(pins: T) -> Self {
        Self(pins.into_iter().map(|(key, side)| (key.into(), side)).collect())
    }
}
