//! One slice between two databases: which row of the monolith's is which row of the candidate's,
//! as SQL in both directions.
//!
//! [`read_plan`] joins the mapping with both catalogs into a [`SlicePlan`]; copying, applying,
//! verifying and going back all work from it and from nothing else, so that they cannot disagree.
//!
//! A value goes from the monolith to the candidate by one of two expressions over the alias `base`:
//!
//! | expression | evaluated in | type of its value |
//! |---|---|---|
//! | `forward` | the target database, over a row that was decoded from the stream | the candidate's |
//! | `select` | the source database, inside of a `COPY` | one that both databases know in binary |
//!
//! The second exists because an enum of the candidate is unknown to the monolith's database. Names
//! of types are as the catalogs print them under [`search_path`] of each database's own schema.

mod error;
mod range;
mod reading;
mod table;
mod types;

pub use error::SliceError;
pub use range::KeyRange;
pub(crate) use range::{KeyPart, borders};
pub use reading::read_plan;
pub(crate) use table::CANDIDATE;
pub use table::{BackwardColumn, KeyColumn, SourceColumn, TablePlan, TargetColumn, Unconverted};

pub use crate::identifier::search_path;
use crate::{
    identifier::Identifier,
    mapping::{Owner, UnfitPolicy},
};

/// What moves, and how.
#[derive(Debug, Clone)]
pub struct SlicePlan {
    /// The name in the mapping.
    pub name: String,
    /// The name of the target.
    pub target: String,
    /// Who may write while both sides run.
    pub owner: Owner,
    /// What becomes of a cutover when the candidate has rows that the monolith could not hold.
    pub unfit_rows: UnfitPolicy,
    /// Where the monolith's tables are.
    pub source_schema: Identifier,
    /// Where the candidate's tables are, in its own database.
    pub target_schema: Identifier,
    /// The tables, in an order in which a row is after what it refers to, as far as there is one.
    pub tables: Vec<TablePlan>,
}

/// What a session sets before it evaluates anything of a plan: whose names are meant, and one way
/// to print a value, so that the text of two equal values is equal on any server. Nothing here runs for
/// long enough to be worth compiling, and how many work at once is up to whoever opens sessions: a copy or comparison is
/// divided by its readers, and not once more by the server.
#[must_use]
pub fn session_settings(schema: &Identifier) -> String {
    format!(
        "SET search_path = {}; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; \
         SET extra_float_digits = 3; SET bytea_output = 'hex'; SET standard_conforming_strings = on; SET lc_monetary = 'C'; \
         SET jit = off; SET max_parallel_workers_per_gather = 0",
        search_path(schema)
    )
}

impl SlicePlan {
    /// The tables that the target database does not have yet.
    pub fn missing(&self) -> impl Iterator<Item = &TablePlan> {
        self.tables.iter().filter(|table| table.missing)
    }
}
