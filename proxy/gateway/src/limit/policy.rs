//! Policies: what is counted, and how much of it is allowed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quota::Quota;

/// What a policy keeps a budget for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Counts {
    /// Each key of the route, such as a function's id. The same key of several routes is one.
    /// Requests without a key share one budget: leaving the key out must not be a way around it.
    Key,
    /// Each route that lists the policy.
    Route,
    /// Each client address; an IPv6 address counts as its /64, because a client has all of that.
    Client,
    /// Each authenticated caller. Callers that nobody knows share one budget.
    Identity,
}

/// A policy's place in [`Policies`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(pub(crate) usize);

/// One policy as it is configured. What is in force may differ: see [`super::LiveLimits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name in configuration, rollout document, headers, metrics and API.
    pub name: String,
    /// What it keeps a budget for.
    pub counts: Counts,
    /// How much each of those may use.
    pub quota: Quota,
}

/// Every policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policies(Vec<Policy>);

impl Policies {
    /// These policies, whose names differ.
    #[must_use]
    pub fn new(policies: Vec<Policy>) -> Self {
        Self(policies)
    }

    /// The policy in this place.
    #[must_use]
    pub fn get(&self, id: PolicyId) -> &Policy {
        &self.0[id.0]
    }

    /// The policy of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<PolicyId> {
        self.0.iter().position(|policy| policy.name == name).map(PolicyId)
    }

    /// Every policy with its place.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (PolicyId, &Policy)> {
        self.0.iter().enumerate().map(|(index, policy)| (PolicyId(index), policy))
    }
}
