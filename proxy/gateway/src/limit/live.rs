//! The quotas in force: those of the configuration, with what the rollout document says instead.

use std::collections::HashMap;

use super::{
    policy::{Policies, PolicyId},
    quota::Quota,
};

/// What one policy allows now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// What a key may use.
    pub quota: Quota,
    /// What these keys may use instead.
    pub overrides: HashMap<Box<str>, Quota>,
}

/// What every policy allows now. Part of the rollout snapshot, so it changes with it, as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LiveLimits(Box<[Limit]>);

impl LiveLimits {
    /// As configured.
    #[must_use]
    pub fn configured(policies: &Policies) -> Self {
        let limits = policies.iter().map(|(_, policy)| Limit { quota: policy.quota, overrides: HashMap::new() });
        Self(limits.collect())
    }

    /// With what a document says about one policy.
    pub(crate) fn set(&mut self, policy: PolicyId, limit: Limit) {
        self.0[policy.0] = limit;
    }

    /// What this policy allows.
    #[must_use]
    pub fn get(&self, policy: PolicyId) -> &Limit {
        &self.0[policy.0]
    }
}

impl Limit {
    /// Every override, in the order of the keys.
    #[must_use]
    pub fn sorted_overrides(&self) -> Vec<(&str, Quota)> {
        let mut overrides: Vec<_> = self.overrides.iter().map(|(key, quota)| (key.as_ref(), *quota)).collect();
        overrides.sort_unstable_by_key(|(key, _)| *key);
        overrides
    }

    /// What this key may use.
    #[must_use]
    pub fn quota(&self, key: &str) -> Quota {
        // Most policies have no overrides, and then nothing is hashed.
        if self.overrides.is_empty() {
            return self.quota;
        }
        self.overrides.get(key).copied().unwrap_or(self.quota)
    }
}
