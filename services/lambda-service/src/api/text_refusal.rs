//! Refusals of trigger, webhook, event and dead-letter routes: a text without a code, as they always were. A cause
//! from inside is logged here, once, and never answered.

use axum::{
    Extension, Json,
    body::Bytes,
    extract::rejection::{BytesRejection, FailedToBufferBody},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::contract::{ContractError, TextError};

use super::problems::{Said, usual_code};
use crate::{events::IntakeError, store::StoreError};

/// When a refused client may try again, in seconds.
const RETRY_AFTER_S: &str = "1";

/// A status and a text.
#[derive(Debug)]
pub struct TextRefusal {
    status: StatusCode,
    text: String,
}

impl TextRefusal {
    /// With this status.
    pub fn with(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::with(StatusCode::BAD_REQUEST, text)
    }

    /// For what the contract answers with 500 although the request is at fault.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::with(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// A statement failed. A database that is away is told from one that refuses: the former is worth another try.
    pub fn store(error: &StoreError, text: &str) -> Self {
        tracing::error!(error = error as &dyn std::error::Error, text, "request failed");
        match error {
            StoreError::Unavailable(_) => Self::with(StatusCode::SERVICE_UNAVAILABLE, text),
            _ => Self::failed(text),
        }
    }

    /// An event was not accepted.
    pub fn intake(error: &IntakeError, text: &str) -> Self {
        match error {
            IntakeError::Store(error) => Self::store(error, text),
            IntakeError::Full(_) => {
                tracing::warn!(%error, "an event was refused");
                Self::with(StatusCode::SERVICE_UNAVAILABLE, format!("{text}: {error}"))
            }
        }
    }
}

impl IntoResponse for TextRefusal {
    fn into_response(self) -> Response {
        let said = Said { code: usual_code(self.status), text: self.text.clone() };
        let answer = (self.status, Extension(said), Json(TextError { error: self.text }));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            return ([(header::RETRY_AFTER, RETRY_AFTER_S)], answer).into_response();
        }
        answer.into_response()
    }
}

/// The body of a request.
pub fn text_body(body: Result<Bytes, BytesRejection>, limit_bytes: u64) -> Result<Bytes, TextRefusal> {
    let too_large =
        || TextRefusal::with(StatusCode::PAYLOAD_TOO_LARGE, ContractError::TooLarge { limit_bytes }.to_string());
    let body = body.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => too_large(),
        _ => TextRefusal::bad_request("the body could not be read"),
    })?;
    if body.len() as u64 > limit_bytes { Err(too_large()) } else { Ok(body) }
}
