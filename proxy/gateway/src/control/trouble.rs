//! What is wrong with keeping the rollout, for people.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Each kind of trouble has a place of its own, so that none hides another.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<[Option<String>; 4]>);

/// The kinds, in the order they are shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum About {
    /// A rollback that is in force is not kept.
    Rollback,
    /// The document in the file is not in force.
    Document,
    /// A change of the document's file could not be recorded.
    Record,
    /// The shared store is away or not what it was.
    Store,
}

impl Trouble {
    /// Notes what is wrong. `true` when that is news.
    pub(super) fn note(&self, about: About, problem: &str) -> bool {
        let known = self.places()[about as usize].replace(problem.to_owned());
        known.as_deref() != Some(problem)
    }

    /// Nothing is wrong with this any more. `true` when that is news.
    pub(super) fn clear(&self, about: About) -> bool {
        self.places()[about as usize].take().is_some()
    }

    pub(super) fn is_noted(&self, about: About) -> bool {
        self.places()[about as usize].is_some()
    }

    /// All of it, or `None` when nothing is wrong.
    pub(super) fn text(&self) -> Option<String> {
        let places = self.places();
        let parts: Vec<&str> = places.iter().flatten().map(String::as_str).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn places(&self) -> MutexGuard<'_, [Option<String>; 4]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
