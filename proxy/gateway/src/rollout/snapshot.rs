//! The state that decisions are made from: immutable, and replaced as a whole.

use std::collections::BTreeSet;

use super::{document::RolloutDocument, weight::Weight};
use crate::route_table::{RouteId, RouteTable};

/// The epoch of a route that was never rolled back.
const FIRST_EPOCH: u64 = 1;

/// The live state of one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteState {
    /// The share of keys on the candidate.
    pub weight: Weight,
    /// Bumped by a rollback. A decision of another epoch is void.
    pub epoch: u64,
}

/// The live state of every route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    revision: u64,
    routes: Box<[RouteState]>,
}

impl Snapshot {
    /// Everything on legacy.
    #[must_use]
    pub fn initial(table: &RouteTable) -> Self {
        let state = RouteState { weight: Weight::NONE, epoch: FIRST_EPOCH };
        Self { revision: 1, routes: vec![state; table.len()].into() }
    }

    /// What comes after this when the document is in force. A route it does not name has no share
    /// on the candidate; an epoch it does not give, or gives too low, stays as it is; the routes in
    /// `except` stay as they are altogether.
    #[must_use]
    pub fn with_document(&self, document: &RolloutDocument, except: &BTreeSet<RouteId>) -> Self {
        let next = self.routes.iter().enumerate().map(|(index, now)| {
            let id = RouteId(index);
            match document.get(id) {
                _ if except.contains(&id) => *now,
                None => RouteState { weight: Weight::NONE, epoch: now.epoch },
                Some(entry) => {
                    RouteState { weight: entry.weight, epoch: entry.epoch.unwrap_or(now.epoch).max(now.epoch) }
                }
            }
        });
        self.next(next.collect())
    }

    /// What comes after this when these routes are back on legacy.
    #[must_use]
    pub fn rolled_back(&self, routes: &[RouteId]) -> Self {
        let mut next = self.routes.clone();
        for route in routes {
            let state = &mut next[route.0];
            *state = RouteState { weight: Weight::NONE, epoch: state.epoch + 1 };
        }
        self.next(next)
    }

    fn next(&self, routes: Box<[RouteState]>) -> Self {
        let changed = routes != self.routes;
        Self { revision: self.revision + u64::from(changed), routes }
    }

    /// Counts the states since this gateway started; equal states in a row have one number.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The state of a route.
    #[must_use]
    pub fn get(&self, route: RouteId) -> RouteState {
        self.routes[route.0]
    }
}
