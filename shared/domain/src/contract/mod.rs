//! The wire types of the `/api/v1` function routes, which the monolith and the lambda service both
//! answer. A client must not be able to tell which side served it.

mod answers;
mod create_function;
mod error;
mod events;

pub use answers::{
    ExecutionItem, ExecutionList, FunctionCreated, FunctionDetail, FunctionList, FunctionSummary, InvokeResponse,
};
pub use create_function::{
    CreateFunction, DEFAULT_HANDLER, DEFAULT_MEMORY_MB, DEFAULT_TIMEOUT_S, FunctionSettings, MAX_MEMORY_MB,
    MAX_NAME_CHARS, MAX_TIMEOUT_S,
};
pub use error::{ContractError, ErrorBody, TextError};
pub use events::{AuditItem, DeadLetterItem, EventAccepted, TriggerItem, WebhookItem};

/// At most this many functions are listed, newest first.
pub const FUNCTION_LIST_LIMIT: i64 = 100;
/// At most this many executions of a function are listed, newest first.
pub const EXECUTION_LIST_LIMIT: i64 = 50;
