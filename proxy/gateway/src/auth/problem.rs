//! Why a caller is turned away.

use super::jwt::TokenProblem;

/// The reasons. They go to the operator's log and metrics; a caller is told no more than RFC 6750
/// wants it to know, so that nobody learns from the answers how to make a better forgery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthProblem {
    #[error("nothing was shown")]
    NoCredentials,
    #[error("more than one credential was shown")]
    SeveralCredentials,
    #[error("the Authorization header is malformed")]
    MalformedHeader,
    #[error("the token is not good: {0}")]
    Token(#[from] TokenProblem),
    #[error("no API key has this hash")]
    UnknownApiKey,
    #[error("the API key has expired")]
    ExpiredApiKey,
    #[error("a required scope is missing")]
    Scope,
    #[error("the issuer's keys could not be fetched")]
    KeysUnavailable,
}

impl AuthProblem {
    /// As the metric calls it.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::SeveralCredentials => "several_credentials",
            Self::MalformedHeader => "malformed_header",
            Self::Token(problem) => problem.code(),
            Self::UnknownApiKey => "unknown_api_key",
            Self::ExpiredApiKey => "expired_api_key",
            Self::Scope => "scope",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}
