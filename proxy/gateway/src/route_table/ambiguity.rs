//! Pairs of routes that one request can match with neither more specific.

use std::fmt;

use super::{condition::Conditions, rank, route::Route};

/// Two routes that can match the same request with neither more specific than the other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct AmbiguousRoutes {
    /// The route that comes first in the file.
    pub first: String,
    /// The place of the other in the list.
    pub index: usize,
    /// The other's name.
    pub second: String,
    /// What a request that both take satisfies, when the two do not ask the same.
    conditions: Option<Conditions>,
}

impl AmbiguousRoutes {
    pub(super) fn new(first: &Route, second: &Route, index: usize) -> Self {
        let conditions = (first.conditions != second.conditions).then(|| {
            let mut both = first.conditions.clone();
            let Conditions { headers, query } = &second.conditions;
            both.headers.extend(headers.iter().filter(|one| !first.conditions.headers.contains(one)).cloned());
            both.query.extend(query.iter().filter(|one| !first.conditions.query.contains(one)).cloned());
            both
        });
        Self { first: first.name.clone(), index, second: second.name.clone(), conditions }
    }

    /// How to mend it.
    #[must_use]
    pub fn fix(&self) -> String {
        match &self.conditions {
            None => "change the hosts, path, methods, headers or query of one of them, or remove one".to_owned(),
            Some(_) => format!(
                "give the one that is to win a condition more than the other has, or add to `{}` a value that rules \
                 `{}` out",
                self.second, self.first
            ),
        }
    }
}

impl fmt::Display for AmbiguousRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, second, conditions, .. } = self;
        match conditions {
            None => write!(f, "`{second}` takes the same requests as `{first}`"),
            Some(both) => {
                write!(f, "`{second}` and `{first}` both take a request with {both}, and neither is more specific")
            }
        }
    }
}

/// Whether two routes of one host and one path leave it open which of them takes some request.
pub(super) fn between(one: &Route, other: &Route) -> bool {
    let same_methods = (one.methods.is_empty() && other.methods.is_empty())
        || one.methods.iter().any(|method| other.methods.contains(method));
    same_methods && rank(one) == rank(other) && !one.conditions.contradict(&other.conditions)
}
