//! Who may use the routes of operators: whoever knows the token.

use layered_config::{Report, Secret, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

/// A shorter token could be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// The routes of operators.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// What they want as `Authorization: Bearer …`. Without it there are no such routes.
    pub token: Secret,
}

impl Validate for AdminConfig {
    fn validate(&self, report: &mut Report) {
        if !self.token.is_empty() && self.token.expose().len() < MIN_TOKEN_BYTES {
            report.problem(
                "token",
                format!("it is shorter than {MIN_TOKEN_BYTES} bytes"),
                "write a random text, or remove it to have no such routes",
            );
        }
    }
}

/// What a request may do by its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It has the token.
    Granted,
    /// It has none, or another.
    Refused,
    /// Nobody has one.
    Absent,
}

/// Knows the token.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Digests are compared in constant time, and tell nothing of how much of a guess was right.
    digest: Option<blake3::Hash>,
}

impl Admin {
    /// What the settings say.
    #[must_use]
    pub fn new(config: &AdminConfig) -> Self {
        Self { digest: (!config.token.is_empty()).then(|| blake3::hash(config.token.expose().as_bytes())) }
    }

    /// What the value of an `Authorization` header is worth.
    #[must_use]
    pub fn access(&self, authorization: Option<&[u8]>) -> Access {
        let Some(digest) = self.digest else { return Access::Absent };
        match authorization.and_then(|value| value.strip_prefix(b"Bearer ")) {
            Some(token) if blake3::hash(token) == digest => Access::Granted,
            _ => Access::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens() {
        let open = Admin::new(&AdminConfig { token: Secret::new("0123456789abcdef") });
        assert_eq!(open.access(Some(b"Bearer 0123456789abcdef")), Access::Granted);
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "0123456789abcdef",
            "bearer 0123456789abcdef",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef ",
            "Basic 0123456789abcdef",
        ] {
            assert_eq!(open.access(Some(value.as_bytes())), Access::Refused, "{value}");
        }
        assert_eq!(open.access(None), Access::Refused);
        let closed = Admin::new(&AdminConfig::default());
        assert_eq!(closed.access(Some(b"Bearer ")), Access::Absent, "no token is no empty token");
    }
}
