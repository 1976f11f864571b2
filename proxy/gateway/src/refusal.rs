//! Why the gateway answers a request itself instead of forwarding it.

use std::time::Duration;

use http::StatusCode;

use crate::{answer::Answer, slices::Held};

/// The reasons. Each has one status and one code; the code is the `error` of the answer, the
/// `reason` of the access log and the label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    InvalidRequest,
    MethodNotForwarded,
    UnknownExpectation,
    NoRoute,
    BadPath,
    BadHost,
    HeaderTooLarge,
    BodyTooLarge,
    KeyMissing,
    KeyRepeated,
    KeyBodyTooLarge,
    LengthRequired,
    BodyIncomplete,
    BodyTimeout,
    RateLimited,
    LimitUnavailable,
    Unauthorized,
    InsufficientScope,
    KeysUnavailable,
    WriteHeld,
}

impl Refusal {
    /// All of them, in the order they are declared.
    pub(crate) const ALL: [Self; 20] = [
        Self::InvalidRequest,
        Self::MethodNotForwarded,
        Self::UnknownExpectation,
        Self::NoRoute,
        Self::BadPath,
        Self::BadHost,
        Self::HeaderTooLarge,
        Self::BodyTooLarge,
        Self::KeyMissing,
        Self::KeyRepeated,
        Self::KeyBodyTooLarge,
        Self::LengthRequired,
        Self::BodyIncomplete,
        Self::BodyTimeout,
        Self::RateLimited,
        Self::LimitUnavailable,
        Self::Unauthorized,
        Self::InsufficientScope,
        Self::KeysUnavailable,
        Self::WriteHeld,
    ];

    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::MethodNotForwarded => "method_not_forwarded",
            Self::UnknownExpectation => "unknown_expectation",
            Self::NoRoute => "route_not_found",
            Self::BadPath => "invalid_path",
            Self::BadHost => "invalid_host",
            Self::HeaderTooLarge => "headers_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::KeyMissing => "key_missing",
            Self::KeyRepeated => "key_repeated",
            Self::KeyBodyTooLarge => "key_body_too_large",
            Self::LengthRequired => "length_required",
            Self::BodyIncomplete => "body_incomplete",
            Self::BodyTimeout => "body_timeout",
            Self::RateLimited => "rate_limited",
            Self::LimitUnavailable => "limit_unavailable",
            Self::Unauthorized => "unauthorized",
            Self::InsufficientScope => "insufficient_scope",
            Self::KeysUnavailable => "keys_unavailable",
            Self::WriteHeld => "write_held",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::MethodNotForwarded => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownExpectation => StatusCode::EXPECTATION_FAILED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::BadPath | Self::BadHost | Self::KeyMissing | Self::KeyRepeated | Self::BodyIncomplete => {
                StatusCode::BAD_REQUEST
            }
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge | Self::KeyBodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::LimitUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::KeysUnavailable | Self::WriteHeld => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::InvalidRequest => "the request can be read in more than one way",
            Self::MethodNotForwarded => "the method is not forwarded",
            Self::UnknownExpectation => "the gateway knows no expectation but 100-continue",
            Self::NoRoute => "no route takes this request",
            Self::BadPath => "the path can be read in more than one way",
            Self::BadHost => "the host is no host name or address",
            Self::HeaderTooLarge => "the headers are longer than the limit",
            Self::BodyTooLarge => "the body is longer than the limit",
            Self::KeyMissing => "the route needs a key, and the request has none",
            Self::KeyRepeated => "the request has more than one key",
            Self::KeyBodyTooLarge => "the body is longer than the limit for bodies that hold a key",
            Self::LengthRequired => "a body of this length that holds a key must declare its length",
            Self::BodyIncomplete => "the body ended early",
            Self::BodyTimeout => "the body did not arrive in time",
            Self::RateLimited => "a limit is used up",
            Self::LimitUnavailable => "nobody can tell whether a limit is used up; the request was not sent",
            Self::Unauthorized => "a valid credential is required",
            Self::InsufficientScope => "the credential lacks a scope",
            Self::KeysUnavailable => {
                "credentials cannot be checked at the moment; the request was not sent and may be repeated"
            }
            Self::WriteHeld => {
                "writes are held while their data moves, and too many wait; the request was not sent and may be repeated"
            }
        }
    }

    /// The answer that says no more than the reason itself.
    pub(crate) fn answer(self) -> Answer {
        self.answer_saying(self.message())
    }

    /// The answer that says what exactly is wrong.
    pub(crate) fn answer_saying(self, message: &str) -> Answer {
        Answer::error(self.status(), self.code(), message)
    }
}

/// A refused request: the reason to count, and the answer, which may say more than the reason.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) answer: Answer,
}

impl From<Held> for Refused {
    fn from(held: Held) -> Self {
        let wait = match held {
            Held::TooMany { retry_after } => retry_after,
            Held::TooLong => Duration::from_secs(1),
        };
        let refusal = Refusal::WriteHeld;
        Self { refusal, answer: refusal.answer().retry_after(wait) }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, answer: refusal.answer() }
    }
}
