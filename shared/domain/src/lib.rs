//! The words of Mini-Lambda, shared by the monolith and by the services it becomes.
//!
//! Nothing here does I/O. What both sides of the migration must agree on to the field (the
//! `/api/v1` contract) is written once, in [`contract`], so that the two sides cannot drift
//! apart by accident; what they do behind it is theirs.

mod build;
pub mod contract;
mod control;
mod event;
mod execution;
mod id;
mod runtime;

pub use build::{
    BuildEvent, BuildFailure, BuildReport, BuildState, BuiltFunction, UnknownBuildState, image_key, image_of_key,
};
pub use control::{ControlChange, ControlState};
pub use event::{DEFAULT_MAX_RETRIES, Event, EventType, UnknownEventType};
pub use execution::{ExecutionStatus, UnknownStatus};
pub use id::{
    AuditId, DeadLetterId, DeliveryId, EventId, ExecutionId, FunctionId, InvalidId, JobId, SubscriptionId, TriggerId,
    WebhookId,
};
pub use runtime::{InvalidRuntimeName, Language, Runtime, RuntimeName, UnknownRuntime};
