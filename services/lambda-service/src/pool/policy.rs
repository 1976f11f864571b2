//! What one function's workers may be: how many, and how long each is used.

use std::{collections::BTreeMap, time::Duration};

use super::Share;
use crate::function::Function;

/// How one function's workers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How many there are.
    pub share: Share,
    /// Calls after which a worker is not used again; 1 makes every call a cold start.
    pub max_calls: Option<u64>,
    /// Age after which a worker is not used again.
    pub max_age: Option<Duration>,
}

/// The policy of every function.
#[derive(Debug, Clone)]
pub struct Policies {
    /// Of functions that are not named.
    pub usual: Policy,
    /// Of functions by their names.
    pub named: BTreeMap<String, Policy>,
}

impl Policies {
    pub(super) fn of(&self, function: &Function) -> &Policy {
        self.named.get(&function.name).unwrap_or(&self.usual)
    }

    /// The names of functions that have workers though nobody calls them.
    pub fn provisioned(&self) -> impl Iterator<Item = &str> {
        self.named.iter().filter(|(_, policy)| policy.share.least > 0).map(|(name, _)| name.as_str())
    }
}

impl Policy {
    /// Whether a worker that has answered this many calls and is this old may take another.
    pub(super) fn may_go_on(&self, calls: u64, age: Duration) -> bool {
        self.max_calls.is_none_or(|most| calls < most) && self.max_age.is_none_or(|oldest| age < oldest)
    }
}
