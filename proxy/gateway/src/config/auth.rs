//! Settings of authentication: which keys are known, what a route wants.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use http::HeaderName;
use layered_config::{ByteSize, HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    jwt::{JwtConfig, not_zero},
    routes::RouteConfig,
};
use crate::auth::IdentityHeaders;

/// How callers prove who they are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// What a challenge calls the protected space.
    pub realm: String,
    /// What routes want that do not say it themselves.
    pub default: RouteAuthConfig,
    /// How the names of the headers begin that tell an upstream who asks: with `x-auth-` they are
    /// `x-auth-method`, `x-auth-subject`, `x-auth-issuer` and `x-auth-scopes`.
    pub identity_header_prefix: String,
    /// Whether a token that was verified goes on to the upstream, which may want to check it too.
    pub forward_authorization: bool,
    /// The longest token that is looked at.
    pub jwt_limit: ByteSize,
    /// How much memory verified tokens may take, so that a token's signature is checked once and not
    /// with each request; 0 for none.
    pub cache: ByteSize,
    /// How long a verified token is remembered, if it does not expire before.
    pub cache_ttl: HumanDuration,
    /// How often key files are looked at for changes.
    pub poll_interval: HumanDuration,
    /// Who issues tokens, by a name of the operator's choice.
    pub jwt: BTreeMap<String, JwtConfig>,
    /// The keys of callers that have no tokens.
    pub api_keys: Option<ApiKeysConfig>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            realm: "gateway".to_owned(),
            default: RouteAuthConfig::default(),
            identity_header_prefix: "x-auth-".to_owned(),
            forward_authorization: true,
            jwt_limit: ByteSize::from_kib(8),
            cache: ByteSize::from_mib(16),
            cache_ttl: HumanDuration::from_secs(300),
            poll_interval: HumanDuration::from_secs(2),
            jwt: BTreeMap::new(),
            api_keys: None,
        }
    }
}

/// What a route wants to know of its callers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteAuthConfig {
    /// What a caller must show.
    pub require: Require,
    /// The names of the issuers whose tokens are taken; none for all of them.
    pub issuers: Vec<String>,
    /// The scopes that a caller must have, all of them.
    pub scopes: Vec<String>,
}

/// What a caller must show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Require {
    /// Nothing.
    #[default]
    None,
    /// A token.
    Jwt,
    /// An API key.
    ApiKey,
    /// One of the two.
    Any,
}

impl Require {
    /// Whether a token will do.
    #[must_use]
    pub fn takes_jwt(self) -> bool {
        matches!(self, Self::Jwt | Self::Any)
    }

    /// Whether an API key will do.
    #[must_use]
    pub fn takes_api_key(self) -> bool {
        matches!(self, Self::ApiKey | Self::Any)
    }
}

/// Where the API keys are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKeysConfig {
    /// The file with the hashes of the keys.
    pub file: PathBuf,
    /// The header that carries a key.
    pub header: String,
    /// Whether a key that was verified goes on to the upstream.
    pub forward: bool,
}

impl Default for ApiKeysConfig {
    fn default() -> Self {
        Self { file: PathBuf::new(), header: "x-api-key".to_owned(), forward: false }
    }
}

/// Headers that mean something else to the gateway or to HTTP.
const NO_API_KEY_HEADERS: [&str; 8] =
    ["authorization", "connection", "content-length", "cookie", "host", "te", "transfer-encoding", "upgrade"];

impl AuthConfig {
    /// Makes paths relative to this folder absolute.
    pub(super) fn resolve(&mut self, folder: &Path) {
        let jwt = self.jwt.values_mut();
        let key_files = jwt.flat_map(|jwt| [&mut jwt.jwks_file, &mut jwt.public_key_file, &mut jwt.jwks_ca_file]);
        let api_keys = self.api_keys.as_mut().map(|keys| &mut keys.file);
        for file in key_files.flatten().chain(api_keys) {
            *file = folder.join(&*file);
        }
    }

    /// What a route wants that says this of itself.
    pub(crate) fn of_route<'c>(&'c self, own: Option<&'c RouteAuthConfig>) -> &'c RouteAuthConfig {
        own.unwrap_or(&self.default)
    }

    /// Checks what each route wants.
    pub(super) fn check_routes(&self, routes: &[RouteConfig], report: &mut Report) {
        for (index, route) in routes.iter().enumerate() {
            if let Some(wanted) = &route.auth {
                report.nested(&format!("routes[{index}].auth"), |report| self.check_route(wanted, report));
            }
        }
    }

    /// Checks what a route wants against what there is.
    fn check_route(&self, route: &RouteAuthConfig, report: &mut Report) {
        if route.require.takes_jwt() && self.jwt.is_empty() {
            report.problem("require", "no issuer of tokens is configured", "add a table [auth.jwt.NAME]");
        }
        if route.require.takes_api_key() && self.api_keys.is_none() {
            report.problem("require", "no API keys are configured", "add a table [auth.api_keys]");
        }
        for (index, name) in route.issuers.iter().enumerate() {
            if !self.jwt.contains_key(name) {
                let fix = format!("add a table [auth.jwt.{name}], or remove the name");
                report.problem(&format!("issuers[{index}]"), "there is no issuer of this name", fix);
            }
        }
        for (index, scope) in route.scopes.iter().enumerate() {
            // RFC 6749, section 3.3.
            let scope_byte = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            if scope.is_empty() || !scope.bytes().all(scope_byte) {
                let fix = "write one scope, without spaces and quotes, for each entry";
                report.problem(&format!("scopes[{index}]"), "it is no scope", fix);
            }
        }
        if route.require == Require::None && !(route.issuers.is_empty() && route.scopes.is_empty()) {
            let fix = "set it to \"jwt\", \"api_key\" or \"any\", or remove `issuers` and `scopes`";
            report.problem("require", "nobody is asked who they are, so nothing of them can be checked", fix);
        }
        if !route.require.takes_jwt() && !route.issuers.is_empty() {
            let fix = "remove it, or set `require` to \"jwt\" or \"any\"";
            report.problem("issuers", "no token is asked for", fix);
        }
    }
}

impl Validate for AuthConfig {
    fn validate(&self, report: &mut Report) {
        let usable = self.identity_header_prefix.starts_with("x-") && self.identity_header_prefix.ends_with('-');
        if !usable || IdentityHeaders::with_prefix(&self.identity_header_prefix).is_none() {
            let fix = "write the beginning of a header's name, such as \"x-auth-\"";
            report.problem("identity_header_prefix", "no header of the gateway's own begins with it", fix);
        }
        if !self.realm.bytes().all(|byte| matches!(byte, b' ' | b'!' | 0x23..=0x5b | 0x5d..=0x7e)) {
            report.problem("realm", "it cannot stand between quotes in a header", "write plain words");
        }
        if self.jwt_limit.bytes() == 0 {
            report.problem("jwt_limit", "no token would fit", "write a size such as \"8 KiB\"");
        }
        for (key, duration) in [("cache_ttl", self.cache_ttl), ("poll_interval", self.poll_interval)] {
            not_zero(key, duration, report);
        }
        report.nested("default", |report| self.check_route(&self.default, report));
        for (name, jwt) in &self.jwt {
            report.nested(&format!("jwt.{name:?}"), |report| {
                if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
                    let fix = "write letters, digits, dashes and underscores";
                    report.problem("", "its name is not usable in ids and metrics", fix);
                }
                jwt.validate(report);
                let same = |(other, config): (&String, &JwtConfig)| other < name && config.issuer == jwt.issuer;
                if self.jwt.iter().any(same) {
                    let fix = "put all keys of one issuer into one table";
                    report.problem("issuer", "another table has this issuer, so its tokens could be either's", fix);
                }
            });
        }
        if let Some(keys) = &self.api_keys {
            report.nested("api_keys", |report| keys.validate(report));
        }
    }
}

impl Validate for ApiKeysConfig {
    fn validate(&self, report: &mut Report) {
        if self.file.file_name().is_none() {
            report.problem("file", "it names no file", "write a file name such as \"api-keys.toml\"");
        }
        let name = self.header.parse::<HeaderName>();
        if name.is_err() || NO_API_KEY_HEADERS.contains(&self.header.to_ascii_lowercase().as_str()) {
            report.problem("header", "a key cannot be sent in it", "write a header's name such as \"x-api-key\"");
        }
    }
}
