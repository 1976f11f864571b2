//! Settings of authentication.

use layered_config::{Report, Validate};
use serde::Deserialize;

use crate::auth::IdentityHeaders;

/// How callers prove who they are.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// How the names of the headers begin that tell an upstream who asks: with `x-auth-` they are
    /// `x-auth-method`, `x-auth-subject`, `x-auth-issuer` and `x-auth-scopes`.
    pub identity_header_prefix: String,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { identity_header_prefix: "x-auth-".to_owned() }
    }
}

impl Validate for AuthConfig {
    fn validate(&self, report: &mut Report) {
        let usable = self.identity_header_prefix.starts_with("x-") && self.identity_header_prefix.ends_with('-');
        if !usable || IdentityHeaders::with_prefix(&self.identity_header_prefix).is_none() {
            let fix = "write the beginning of a header's name, such as \"x-auth-\"";
            report.problem("identity_header_prefix", "no header of the gateway's own begins with it", fix);
        }
    }
}
