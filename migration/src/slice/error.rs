use crate::finding::{Finding, Listed};

/// Why a slice could not be planned. No message holds a connection URL.
#[derive(Debug, thiserror::Error)]
pub enum SliceError {
    /// The mapping does not have it.
    #[error("the mapping has no slice `{name}`; it has: {}", there.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What is there.
        there: Vec<String>,
    },
    /// A database could not be reached or read.
    #[error("cannot read {what}")]
    Inspect {
        /// What was being read.
        what: &'static str,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// Mapping and databases do not fit together.
    #[error("the mapping does not fit the databases:\n{}", Listed(findings))]
    Unfit {
        /// Everything that does not fit.
        findings: Vec<Finding>,
    },
}

impl SliceError {
    pub(crate) fn inspect(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Inspect { what, source }
    }
}
