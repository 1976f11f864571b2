//! Who asks, and whether they may.

mod identity;
mod identity_headers;

use pingora::{Result, http::RequestHeader};

pub use identity::{AuthMethod, Identity};
pub(crate) use identity_headers::IdentityHeaders;

use crate::config::AuthConfig;

/// Everything that proves who asks.
pub(crate) struct Authenticator {
    headers: IdentityHeaders,
}

impl Authenticator {
    /// For settings that have been checked.
    pub(crate) fn new(config: &AuthConfig) -> Self {
        let headers = IdentityHeaders::with_prefix(&config.identity_header_prefix);
        Self { headers: headers.expect("the prefix has been checked") }
    }

    /// Makes the request say who asks, and nothing that the client claims about that.
    pub(crate) fn tell_upstream(&self, request: &mut RequestHeader, identity: Option<&Identity>) -> Result<()> {
        self.headers.remove_forged(request);
        identity.map_or(Ok(()), |identity| self.headers.set(request, identity))
    }
}
