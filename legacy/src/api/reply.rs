//! Refusals, in the two shapes of the contract. A cause from inside is logged here, once, and never
//! answered.

use std::error::Error;

use axum::{
    Json,
    extract::rejection::BytesRejection,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::contract::{ContractError, TextError};

/// The refusal of a function route.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) ContractError);

impl Refusal {
    /// For what failed inside: logs the cause and answers `error`.
    pub(super) fn inside(error: ContractError, cause: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = cause, code = error.code(), "a request failed");
        Self(error)
    }
}

impl From<ContractError> for Refusal {
    fn from(error: ContractError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0.body())).into_response()
    }
}

/// The refusal of a trigger, webhook, dead-letter or event route: a text without a code.
#[derive(Debug)]
pub(super) struct TextRefusal {
    status: StatusCode,
    text: String,
}

impl TextRefusal {
    /// With this status.
    pub(super) fn with(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::with(StatusCode::BAD_REQUEST, text)
    }

    /// For what the contract answers with 500 although the request is at fault.
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self::with(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// For what failed inside: logs the cause and answers `text`.
    pub(super) fn inside(text: &str, cause: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = cause, text, "a request failed");
        Self::failed(text)
    }
}

impl IntoResponse for TextRefusal {
    fn into_response(self) -> Response {
        (self.status, Json(TextError { error: self.text })).into_response()
    }
}

/// The body of a request to a function route.
pub(super) fn contract_body(body: Result<Bytes, BytesRejection>, limit_bytes: u64) -> Result<Bytes, Refusal> {
    body.map_err(|rejection| {
        Refusal(if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            ContractError::TooLarge { limit_bytes }
        } else {
            ContractError::InvalidRequest("the body could not be read".to_owned())
        })
    })
}

/// The body of a request to any other route.
pub(super) fn text_body(body: Result<Bytes, BytesRejection>, limit_bytes: u64) -> Result<Bytes, TextRefusal> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => TextRefusal {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            text: ContractError::TooLarge { limit_bytes }.to_string(),
        },
        _ => TextRefusal::bad_request("the body could not be read"),
    })
}
