//! The names of all entries together.

use std::collections::{HashMap, HashSet};

use crate::{Entry, Limits, Problem, Refusal};

/// Refuses names that occur twice, files that are folders of others, and more folders than are allowed.
pub(crate) fn check(entries: &[Entry], limits: &Limits) -> Result<(), Refusal> {
    let mut named = HashMap::with_capacity(entries.len());
    for entry in entries {
        if named.insert(&*entry.path, entry.is_folder).is_some() {
            return Err(Refusal::of_entry(entry.path.as_bytes(), Problem::DuplicateName));
        }
    }
    // Folders that no entry names are made all the same: a path of 32 parts is 31 of them.
    let mut implied = HashSet::new();
    for entry in entries {
        for folder in folders_of(&entry.path) {
            match named.get(folder) {
                Some(true) => {}
                Some(false) => return Err(Refusal::of_entry(folder.as_bytes(), Problem::FileIsFolder)),
                None => drop(implied.insert(folder)),
            }
        }
        let all = (entries.len() + implied.len()) as u64;
        if all > u64::from(limits.entries) {
            return Err(Problem::TooManyEntries { entries: all, limit: limits.entries }.into());
        }
    }
    Ok(())
}

/// `a` and `a/b`, of `a/b/c`.
fn folders_of(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}
