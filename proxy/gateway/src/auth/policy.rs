//! What a route wants to know of its callers.

use super::{AuthProblem, Identity};
use crate::config::{Require, RouteAuthConfig};

/// One route's wishes.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) require: Require,
    /// The places of the issuers whose tokens are taken; none for all.
    pub(super) issuers: Vec<usize>,
    pub(super) scopes: Vec<String>,
}

impl Policy {
    pub(super) fn new(config: &RouteAuthConfig, issuer: impl Fn(&str) -> Option<usize>) -> Self {
        let place = |name: &String| issuer(name).expect("the names have been checked");
        Self {
            require: config.require,
            issuers: config.issuers.iter().map(place).collect(),
            scopes: config.scopes.clone(),
        }
    }

    /// Whether this caller may pass.
    pub(super) fn admits(&self, identity: &Identity) -> Result<(), AuthProblem> {
        if identity.has_scopes(&self.scopes) { Ok(()) } else { Err(AuthProblem::Scope) }
    }
}
