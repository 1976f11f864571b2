//! The errors of the function routes: status, code and text.

use serde::{Deserialize, Serialize};

/// The body of an error of a function route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A code for programs, such as `function_not_found`.
    pub error: String,
    /// A sentence for people.
    pub message: String,
}

/// The body of an error of trigger, webhook, dead-letter and event routes, which never had a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextError {
    /// A sentence for people.
    pub error: String,
}

/// What can go wrong on a function route, as a client sees it. The text never carries a cause from
/// inside (a connection string, a path, SQL): causes are logged, not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// The body is not JSON, or a required field is missing.
    #[error("{0}")]
    InvalidRequest(String),
    /// A field is out of its range.
    #[error("{0}")]
    ValidationFailed(String),
    /// The runtime is none of the contract's.
    #[error("{0}")]
    InvalidRuntime(String),
    /// The body is over the limit, in bytes.
    #[error("the body is over the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The most a body may hold, in bytes.
        limit_bytes: u64,
    },
    /// The name is taken.
    #[error("a function named `{0}` exists already")]
    FunctionExists(String),
    /// No such function, when one is asked for.
    #[error("no function has the id `{0}`")]
    FunctionNotFound(String),
    /// No such function, when one is deleted (the monolith used another code there).
    #[error("no function has the id `{0}`")]
    NotFound(String),
    /// `PUT` was never built.
    #[error("a function cannot be changed; delete it and create it again")]
    NotImplemented,
    /// Something else was asked for under the client's Idempotency-Key.
    #[error("something else was asked for under this Idempotency-Key; use a key of its own for each request")]
    IdempotencyKeyReused,
    /// As many calls as the function may have are running or waiting.
    #[error("function `{0}` has as many calls running and waiting as it may; try again later")]
    TooManyRequests(String),
    /// A dependency is away; the same request may succeed later.
    #[error("the service cannot answer now; try again later")]
    Unavailable,
    /// Creating failed inside.
    #[error("the function could not be created")]
    CreateFailed,
    /// Listing failed inside.
    #[error("the functions could not be listed")]
    ListFailed,
    /// Reading one function failed inside. The monolith answers this for an unknown function in
    /// `invoke` too.
    #[error("the function could not be read")]
    GetFailed,
    /// Deleting failed inside.
    #[error("the function could not be deleted")]
    DeleteFailed,
    /// The function could not be run at all (as opposed to: it ran and failed, which is a 200).
    #[error("the function could not be run")]
    InvokeFailed,
    /// Reading the executions failed inside.
    #[error("the executions could not be read")]
    HistoryFailed,
}

impl ContractError {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::InvalidRequest(_) | Self::ValidationFailed(_) | Self::InvalidRuntime(_) => 400,
            Self::FunctionNotFound(_) | Self::NotFound(_) => 404,
            Self::FunctionExists(_) => 409,
            Self::TooLarge { .. } => 413,
            Self::IdempotencyKeyReused => 422,
            Self::TooManyRequests(_) => 429,
            Self::CreateFailed
            | Self::ListFailed
            | Self::GetFailed
            | Self::DeleteFailed
            | Self::InvokeFailed
            | Self::HistoryFailed => 500,
            Self::NotImplemented => 501,
            Self::Unavailable => 503,
        }
    }

    /// The code in the `error` field.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::ValidationFailed(_) => "validation_failed",
            Self::InvalidRuntime(_) => "invalid_runtime",
            Self::TooLarge { .. } => "payload_too_large",
            Self::FunctionExists(_) => "function_exists",
            Self::FunctionNotFound(_) => "function_not_found",
            Self::NotFound(_) => "not_found",
            Self::NotImplemented => "not_implemented",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::TooManyRequests(_) => "too_many_requests",
            Self::Unavailable => "service_unavailable",
            Self::CreateFailed => "failed_to_create_function",
            Self::ListFailed => "failed_to_list_functions",
            Self::GetFailed => "failed_to_get_function",
            Self::DeleteFailed => "failed_to_delete_function",
            Self::InvokeFailed => "failed_to_invoke_function",
            Self::HistoryFailed => "failed_to_get_history",
        }
    }

    /// The body that a client receives.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        ErrorBody { error: self.code().to_owned(), message: self.to_string() }
    }
}
