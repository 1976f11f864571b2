//! From what went wrong inside to what a client sees: the one place that knows both.

use axum::{
    Extension, Json,
    body::Bytes,
    extract::rejection::{BytesRejection, FailedToBufferBody},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::contract::ContractError;

use super::problems::Said;
use crate::{
    code::CodeError, events::IntakeError, executor::StartError, invocation::InvokeError, pool::AcquireError,
    recorder::RecordError, store::StoreError,
};

/// When a refused client may try again, in seconds.
const RETRY_AFTER_S: &str = "1";

/// An error of the contract as an answer.
pub struct Refusal(ContractError);

impl Refusal {
    /// Logs the cause, which the client does not see, when the fault is on our side.
    fn caused(error: ContractError, cause: &(dyn std::error::Error + 'static)) -> Self {
        if error.status() >= 500 {
            tracing::error!(code = error.code(), error = cause, "request failed");
        }
        Self(error)
    }

    /// A statement failed; `otherwise` is the contract's code for a failure of this operation.
    pub fn store(error: &StoreError, otherwise: ContractError) -> Self {
        let answer = match error {
            StoreError::Unavailable(_) => ContractError::Unavailable,
            StoreError::NameTaken(name) => ContractError::FunctionExists(name.clone()),
            StoreError::Taken | StoreError::NoSuchFunction | StoreError::Unreadable(_) | StoreError::Refused(_) => {
                otherwise
            }
        };
        Self::caused(answer, error)
    }

    /// The code could not be stored.
    pub fn code(error: &CodeError, otherwise: ContractError) -> Self {
        let answer = match error {
            CodeError::Unavailable(_) | CodeError::Disk(_) | CodeError::NoRoom { .. } => ContractError::Unavailable,
            CodeError::Missing(_) | CodeError::Damaged(_) | CodeError::OutOfReach(_) => otherwise,
        };
        Self::caused(answer, error)
    }

    /// An asynchronous call was not accepted.
    pub fn intake(error: &IntakeError) -> Self {
        match error {
            IntakeError::Store(error) => Self::store(error, ContractError::InvokeFailed),
            IntakeError::Full(_) => Self::caused(ContractError::Unavailable, error),
        }
    }

    /// So many events have not ended yet.
    pub fn events_left(count: u64) -> Self {
        tracing::warn!(count, "events have not ended in time");
        Self(ContractError::Unavailable)
    }

    /// The history could not be brought up to date.
    pub fn record(error: RecordError) -> Self {
        Self::caused(ContractError::Unavailable, &error)
    }

    /// A call was not run or cannot be answered; `id` is how the client named the function.
    pub fn invoke(error: &InvokeError, id: &str) -> Self {
        let answer = match error {
            InvokeError::NotFound => ContractError::FunctionNotFound(id.to_owned()),
            InvokeError::Lookup(error) => return Self::store(error, ContractError::GetFailed),
            InvokeError::Record(RecordError::Full | RecordError::NotDurable)
            | InvokeError::Worker(
                AcquireError::Closed
                | AcquireError::Start(
                    StartError::NotReady
                    | StartError::Code(CodeError::Unavailable(_) | CodeError::Disk(_) | CodeError::NoRoom { .. }),
                ),
            ) => ContractError::Unavailable,
            InvokeError::Worker(AcquireError::Saturated) => ContractError::TooManyRequests(id.to_owned()),
            InvokeError::Worker(AcquireError::Start(
                StartError::Function { .. }
                | StartError::Code(_)
                | StartError::Sandbox(_)
                | StartError::Docker(_)
                | StartError::Aborted,
            )) => ContractError::InvokeFailed,
        };
        Self::caused(answer, error)
    }
}

impl From<ContractError> for Refusal {
    fn from(error: ContractError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status()).expect("the contract's statuses are HTTP's");
        let said = Said { code: self.0.code(), text: self.0.to_string() };
        let answer = (status, Extension(said), Json(self.0.body()));
        match self.0 {
            ContractError::TooManyRequests(_) | ContractError::Unavailable => {
                ([(header::RETRY_AFTER, RETRY_AFTER_S)], answer).into_response()
            }
            _ => answer.into_response(),
        }
    }
}

/// The body of a request, or the contract's answer to one that cannot be read.
pub fn body(read: Result<Bytes, BytesRejection>, limit_bytes: u64) -> Result<Bytes, Refusal> {
    read.map_err(|rejection| {
        Refusal(match rejection {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
                ContractError::TooLarge { limit_bytes }
            }
            _ => ContractError::InvalidRequest("the body could not be read".to_owned()),
        })
    })
}
