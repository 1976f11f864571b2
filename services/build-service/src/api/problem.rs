//! From what went wrong inside to what a client sees.

use axum::http::StatusCode;
use service::Problem;

use crate::{intake::IntakeError, store::StoreError};

/// No build has this id.
pub fn no_such_build(id: &str) -> Problem {
    let id: String = id.chars().take(64).collect();
    Problem::new(StatusCode::NOT_FOUND, "build-not-found", "No such build", format!("no build has the id `{id}`"))
}

/// The request cannot be done to a build in this state.
pub fn conflict(detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, "wrong-state", "The build is in another state", detail)
}

/// A parameter that cannot be what it is.
pub fn parameter(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid-parameter", "A parameter is invalid", detail)
}

fn unavailable(cause: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error = cause, "request failed");
    let detail = "the service cannot answer now; try again later";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now", detail)
}

fn failed(cause: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error = cause, "request failed");
    let detail = "the request failed inside; the cause is in the service's log";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "Failed", detail)
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => unavailable(&error),
            StoreError::Unreadable(_) | StoreError::Refused(_) => failed(&error),
        }
    }
}

impl From<IntakeError> for Problem {
    fn from(error: IntakeError) -> Self {
        let detail = error.to_string();
        match &error {
            IntakeError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many uploads", detail),
            IntakeError::Slow(_) => Self::new(StatusCode::REQUEST_TIMEOUT, "slow-upload", "Upload too slow", detail),
            IntakeError::MediaType => {
                Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "Unsupported media type", detail)
            }
            IntakeError::Malformed(_) => Self::new(StatusCode::BAD_REQUEST, "malformed", "Malformed request", detail),
            IntakeError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail),
            // Which field.
            IntakeError::Field(field) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", "A field is invalid", detail)
                    .about(&*field.field)
            }
            // What is wrong with it, by the name that function-package gives it.
            IntakeError::Package(refusal) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "package-refused", "The package is refused", detail)
                    .about(refusal.code())
            }
            IntakeError::Disk(_) => failed(&error),
            IntakeError::Objects(_) => unavailable(&error),
        }
    }
}
