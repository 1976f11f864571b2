//! The shared stage: the candidate works on the monolith's tables through views of its own.
//!
//! ```text
//!   candidate ──► lambda_service.invocations   a view with INSTEAD OF triggers
//!                            │ id::uuid, created_at AT TIME ZONE 'UTC'
//!   monolith ───► public.executions            the one and only copy of the rows
//! ```
//!
//! [`plan()`] reads the live catalog, compares and lists the changes; [`apply()`] makes them; applying
//! twice changes nothing. [`removal`] is the plan that takes everything away again.
//!
//! | what can happen | what it comes to |
//! |---|---|
//! | killed in the middle of an apply | views are there whole or not at all; an unfinished index is rebuilt by the next plan |
//! | two applies at once | one waits for the other, then finds nothing left to do |
//! | the monolith alters a table | PostgreSQL refuses what would break a view; the rest is the next plan's reason, or finding |
//! | a row the candidate could not read | counted and shown before anything is made, refused by an index afterwards |
//! | both sides change one row at once | the candidate's statement fails with `40001` and is run again |
//! | a role without rights on the tables | works: views and triggers have the rights of who applied the plan |
//!
//! What views cannot do: `INSERT … ON CONFLICT`, `SELECT … FOR UPDATE` that locks out other writers
//! through the trigger (it does lock the monolith's row), `TRUNCATE`, and foreign keys onto them.

mod apply;
mod bundle;
mod error;
mod existing;
mod inspection;
mod marker;
mod plan;
mod proof;
mod stage;
mod twin;

use sqlx::PgPool;

pub use apply::Patience;
pub use error::SharedError;
pub use plan::{Change, Plan, Purpose};

pub use crate::finding::Finding;
use crate::mapping::Mapping;

/// Reads the database and says what must change for the views to be as the mapping says. Nothing
/// is changed.
pub async fn plan(pool: &PgPool, mapping: &Mapping) -> Result<Plan, SharedError> {
    plan_for(pool, mapping, Purpose::Provide).await
}

/// Reads the database and says what must be dropped for nothing of the stage to be left: only what
/// carries its mark. The monolith's rows are not touched.
pub async fn removal(pool: &PgPool, mapping: &Mapping) -> Result<Plan, SharedError> {
    plan_for(pool, mapping, Purpose::Remove).await
}

/// Makes the changes of a plan, and returns those that were still to be made.
pub async fn apply(pool: &PgPool, plan: &Plan, patience: Patience) -> Result<Vec<Change>, SharedError> {
    apply::apply(pool, plan, patience).await
}

async fn plan_for(pool: &PgPool, mapping: &Mapping, purpose: Purpose) -> Result<Plan, SharedError> {
    let mut connection = pool.acquire().await.map_err(SharedError::inspect("a connection"))?;
    inspection::make_plan(&mut connection, mapping, purpose).await
}
