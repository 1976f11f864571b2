//! Why the gateway answers a request itself instead of forwarding it.

use http::StatusCode;

use crate::answer::Answer;

/// The reasons. Each has one status and one code; the code is the `error` of the answer, the
/// `reason` of the access log and the label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    NoRoute,
    BadPath,
    HeaderTooLarge,
    BodyTooLarge,
}

impl Refusal {
    /// All of them, in the order they are declared.
    pub(crate) const ALL: [Self; 4] = [Self::NoRoute, Self::BadPath, Self::HeaderTooLarge, Self::BodyTooLarge];

    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NoRoute => "route_not_found",
            Self::BadPath => "invalid_path",
            Self::HeaderTooLarge => "headers_too_large",
            Self::BodyTooLarge => "body_too_large",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::BadPath => StatusCode::BAD_REQUEST,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::NoRoute => "no route takes this request",
            Self::BadPath => "the path can be read in more than one way",
            Self::HeaderTooLarge => "the headers are longer than the limit",
            Self::BodyTooLarge => "the body is longer than the limit",
        }
    }

    /// The answer that says no more than the reason itself.
    pub(crate) fn answer(self) -> Answer {
        Answer::error(self.status(), self.code(), self.message())
    }
}

/// A refused request: the reason to count, and the answer, which may say more than the reason.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) answer: Answer,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, answer: refusal.answer() }
    }
}
