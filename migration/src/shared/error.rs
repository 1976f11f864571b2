//! What can go wrong between a mapping and a database.

use std::time::Duration;

use crate::finding::{Finding, Listed};

/// Why a plan was not made or not applied. No message holds a connection URL.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The database could not be reached or read.
    #[error("cannot read {what} from the database")]
    Inspect {
        /// What was being read.
        what: &'static str,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// Mapping and database do not fit together.
    #[error("the mapping does not fit the database:\n{}", Listed(findings))]
    Unfit {
        /// Everything that does not fit.
        findings: Vec<Finding>,
    },
    /// The database is no longer what the plan was made from.
    #[error("the database changed since the plan was made: {object} now needs {reason}; make a new plan")]
    Stale {
        /// The first object that the plan does not speak of.
        object: String,
        /// What it needs.
        reason: String,
    },
    /// Somebody else is applying a plan.
    #[error("another apply has held the lock for more than {} s", waited.as_secs())]
    Busy {
        /// How long this one has waited.
        waited: Duration,
    },
    /// A statement failed. Of changes inside of the transaction nothing has happened; of those
    /// outside, the earlier ones stand, and a new plan has the rest.
    #[error("cannot change {object} by `{statement}`")]
    Apply {
        /// What was being changed.
        object: String,
        /// The first line of the statement.
        statement: String,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
}

impl SharedError {
    pub(super) fn inspect(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Inspect { what, source }
    }

    pub(super) fn apply(object: &str, statement: &str) -> impl FnOnce(sqlx::Error) -> Self {
        let object = object.to_owned();
        let statement = statement.lines().next().unwrap_or_default().to_owned();
        move |source| Self::Apply { object, statement, source }
    }
}
