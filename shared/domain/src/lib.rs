//! The words of Mini-Lambda, shared by the monolith and by the services it becomes.
//!
//! Nothing here does I/O. What both sides of the migration must agree on to the field (the
//! `/api/v1` contract) is written once, in [`contract`], so that the two sides cannot drift
//! apart by accident; what they do behind it is theirs.

pub mod contract;
mod execution;
mod id;
mod runtime;

pub use execution::{ExecutionStatus, UnknownStatus};
pub use id::{
    AuditId, DeadLetterId, EventId, ExecutionId, FunctionId, InvalidId, SubscriptionId, TriggerId, WebhookId,
};
pub use runtime::{Language, Runtime, UnknownRuntime};
