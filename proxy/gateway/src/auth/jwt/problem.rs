//! Why a token is not believed.

/// The reasons. They are for the operator: a client learns only that its token is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenProblem {
    #[error("it is longer than the limit")]
    TooLong,
    #[error("it is no JWS in compact form with a JSON header")]
    Malformed,
    #[error("its payload is no JSON object of claims")]
    MalformedClaims,
    #[error("its header asks for an extension that must be understood (`crit`, `b64`)")]
    CriticalHeader,
    #[error("its `typ` is another than required")]
    Type,
    #[error("its `alg` is not allowed")]
    Algorithm,
    #[error("its issuer is not known here")]
    Issuer,
    #[error("no key has its `kid`")]
    UnknownKey,
    #[error("more than one key could have signed it")]
    AmbiguousKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("it is for another audience")]
    Audience,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYetValid,
    #[error("a required claim is missing")]
    MissingClaim,
    #[error("`exp`, `nbf` or `iat` is no date")]
    MalformedDate,
}

impl TokenProblem {
    /// As the metric calls it.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::MalformedClaims => "malformed_claims",
            Self::CriticalHeader => "critical_header",
            Self::Type => "type",
            Self::Algorithm => "algorithm",
            Self::Issuer => "issuer",
            Self::UnknownKey => "unknown_key",
            Self::AmbiguousKey => "ambiguous_key",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::MissingClaim => "missing_claim",
            Self::MalformedDate => "malformed_date",
        }
    }
}
