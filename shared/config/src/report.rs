//! What a component says about its own settings once they have been read.

use crate::{
    HumanDuration,
    document::{Segment, parse_path},
};

/// The checks that types cannot make.
pub trait Validate {
    /// Reports every problem; returning without a report means the settings are good.
    fn validate(&self, report: &mut Report);
}

/// Collects problems under keys relative to where the component sits in the whole.
#[derive(Debug, Default)]
pub struct Report {
    prefix: Vec<Segment>,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<Segment>,
    pub(crate) message: String,
    pub(crate) fix: String,
}

impl Report {
    /// Reports a problem of `key` (relative; empty for the component as a whole; a name with dots
    /// in it is quoted: `tables."public.functions"`): what is wrong, and how to mend it.
    pub fn problem(&mut self, key: &str, message: impl Into<String>, fix: impl Into<String>) {
        let mut path = self.prefix.clone();
        path.extend(parse_path(key));
        self.entries.push(Entry { path, message: message.into(), fix: fix.into() });
    }

    /// Reports `key` when its number is 0.
    pub fn at_least_one(&mut self, key: &str, value: u64) {
        if value == 0 {
            self.problem(key, "it must be at least 1", "write a number above 0");
        }
    }

    /// Reports `key` when its duration is none.
    pub fn longer_than_zero(&mut self, key: &str, duration: HumanDuration) {
        if duration.get().is_zero() {
            self.problem(key, "it must be longer than zero", "write a duration such as \"5s\"");
        }
    }

    /// Runs the checks of a part, whose keys are below `key`.
    pub fn nested(&mut self, key: &str, check: impl FnOnce(&mut Self)) {
        let depth = self.prefix.len();
        self.prefix.extend(parse_path(key));
        check(self);
        self.prefix.truncate(depth);
    }

    /// Whether nothing was reported.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.entries.is_empty()
    }
}
