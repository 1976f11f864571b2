//! What callers were told: an account of functions and executions that no database has kept.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use domain::{ExecutionId, FunctionId};

/// Ids in the answers of all callers.
#[derive(Default)]
pub(super) struct Told(Mutex<Ids>);

/// Ids as text, as both databases can show them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) functions: BTreeSet<String>,
    pub(super) executions: BTreeSet<String>,
}

impl Told {
    pub(super) fn function(&self, id: FunctionId) {
        self.ids().functions.insert(id.to_string());
    }

    pub(super) fn execution(&self, id: ExecutionId) {
        self.ids().executions.insert(id.to_string());
    }

    /// By now.
    pub(super) fn so_far(&self) -> Ids {
        self.ids().clone()
    }

    fn ids(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
