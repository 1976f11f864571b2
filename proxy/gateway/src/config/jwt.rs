//! Settings of one issuer of tokens.

use std::{fmt, net::IpAddr, path::PathBuf};

use layered_config::{ByteSize, HumanDuration, Report, Secret, Validate};
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use crate::auth::{Algorithm, secret_problem};

/// One issuer of tokens.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JwtConfig {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The audiences of which a token must name one.
    #[serde(deserialize_with = "one_or_several")]
    #[schemars(with = "OneOrSeveral")]
    pub audience: Vec<String>,
    /// Whether tokens for anybody are taken. Then a token that was made for another service works
    /// here too.
    pub allow_any_audience: bool,
    /// The algorithms that its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys are published.
    pub jwks_url: Option<String>,
    /// A file with its keys.
    pub jwks_file: Option<PathBuf>,
    /// A file with its one public key in PEM.
    pub public_key_file: Option<PathBuf>,
    /// The secret of HS256.
    pub secret: Secret,
    /// How far its clock and ours may be apart.
    pub leeway: HumanDuration,
    /// The claims that a token must have besides `exp`.
    pub required_claims: Vec<String>,
    /// Whether a token may be good for ever.
    pub allow_no_expiry: bool,
    /// The media type that a token must name in `typ`, such as `at+jwt`.
    pub typ: Option<String>,
    /// How often the published keys are fetched.
    pub refresh_interval: HumanDuration,
    /// The least time between two fetches, whatever asks for them: tokens with keys that are not
    /// known, or failures.
    pub refresh_cooldown: HumanDuration,
    /// How long the keys fetched last are used although they cannot be fetched again.
    pub stale_for: HumanDuration,
    /// The longest a fetch may take, and a request wait for one.
    pub jwks_timeout: HumanDuration,
    /// The most requests that may wait for a fetch because of a key that is not known.
    pub refresh_waiters: usize,
    /// The largest key set that is read.
    pub jwks_limit: ByteSize,
    /// Certificates of the authorities to trust for `jwks_url`, in PEM, in place of the system's.
    pub jwks_ca_file: Option<PathBuf>,
    /// Whether keys may be fetched without TLS from another machine. Whoever can change the answer
    /// on its way can then issue tokens.
    pub allow_http: bool,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: Vec::new(),
            allow_any_audience: false,
            algorithms: Vec::new(),
            jwks_url: None,
            jwks_file: None,
            public_key_file: None,
            secret: Secret::default(),
            leeway: HumanDuration::from_secs(30),
            required_claims: vec!["sub".to_owned()],
            allow_no_expiry: false,
            typ: None,
            refresh_interval: HumanDuration::from_secs(300),
            refresh_cooldown: HumanDuration::from_secs(1),
            stale_for: HumanDuration::from_secs(24 * 3_600),
            jwks_timeout: HumanDuration::from_secs(2),
            refresh_waiters: 1_000,
            jwks_limit: ByteSize::from_kib(256),
            jwks_ca_file: None,
            allow_http: false,
        }
    }
}

impl Validate for JwtConfig {
    fn validate(&self, report: &mut Report) {
        if self.issuer.is_empty() {
            report.problem("issuer", "it is required and not set", "write the `iss` of the issuer's tokens");
        }
        if self.audience.is_empty() != self.allow_any_audience || self.audience.iter().any(String::is_empty) {
            let fix = "name the audiences that tokens are made for, or set `allow_any_audience = true` and name none";
            report.problem("audience", "it is not clear whose tokens are taken", fix);
        }
        if self.algorithms.is_empty() {
            let fix = "name those that the issuer uses, of \"RS256\", \"ES256\", \"EdDSA\" and \"HS256\"";
            report.problem("algorithms", "it is required and not set", fix);
        }
        self.validate_keys(report);
        for (key, duration) in [
            ("refresh_interval", self.refresh_interval),
            ("refresh_cooldown", self.refresh_cooldown),
            ("stale_for", self.stale_for),
            ("jwks_timeout", self.jwks_timeout),
        ] {
            not_zero(key, duration, report);
        }
        if self.refresh_waiters == 0 {
            report.problem("refresh_waiters", "tokens with a new key would be refused", "write 1 or more");
        }
        if self.stale_for < self.refresh_interval {
            let fix = "make it longer than `refresh_interval`";
            report.problem("stale_for", "keys would be given up before they are fetched again", fix);
        }
        if self.leeway > HumanDuration::from_secs(3_600) {
            report.problem("leeway", "it is longer than an hour", "write a duration such as \"30s\"");
        }
        if self.jwks_limit.bytes() == 0 {
            report.problem("jwks_limit", "no key set would fit", "write a size such as \"256 KiB\"");
        }
    }
}

impl JwtConfig {
    fn validate_keys(&self, report: &mut Report) {
        let sources = [
            self.jwks_url.is_some(),
            self.jwks_file.is_some(),
            self.public_key_file.is_some(),
            !self.secret.is_empty(),
        ];
        if sources.iter().filter(|given| **given).count() != 1 {
            let fix = "set exactly one of `jwks_url`, `jwks_file`, `public_key_file` and `secret`";
            report.problem("", "it is not clear where its keys come from", fix);
        }
        let hs256 = self.algorithms.contains(&Algorithm::Hs256);
        if !self.secret.is_empty() {
            if let Some(problem) = secret_problem(&self.secret) {
                report.problem("secret", problem, "make one with `openssl rand -hex 32`");
            }
            if self.algorithms != [Algorithm::Hs256] {
                let fix = "write algorithms = [\"HS256\"], or name public keys in place of the secret";
                report.problem("algorithms", "a secret is for HS256 alone", fix);
            }
        } else if hs256 && self.jwks_file.is_none() {
            let fix = "remove \"HS256\", or set `secret` in place of public keys";
            report.problem("algorithms", "HS256 needs a secret, and public keys are none", fix);
        }
        let Some(text) = &self.jwks_url else { return };
        match text.parse::<Url>() {
            Ok(url) if url.scheme() == "https" && url.has_host() => {}
            Ok(url) if url.scheme() == "http" && (self.allow_http || is_loopback(&url)) => {}
            Ok(url) if url.scheme() == "http" => {
                let fix = "write https://, or set `allow_http = true` if nobody can change the answer on its way";
                report.problem("jwks_url", "it has no TLS", fix);
            }
            _ => report.problem("jwks_url", "it is no web address", "write an address that begins with https://"),
        }
    }
}

/// Reports a duration of no length.
pub(super) fn not_zero(key: &str, duration: HumanDuration, report: &mut Report) {
    if duration.get().is_zero() {
        report.problem(key, "it must not be zero", "write a duration such as \"30s\"");
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// `"a"` or `["a", "b"]`.
/// How [`one_or_several`] names are written.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is the shape of a value and never one")]
enum OneOrSeveral {
    One(String),
    Several(Vec<String>),
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Names;
    impl<'de> de::Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name or a list of names")
        }

        fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
            Ok(vec![name.to_owned()])
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, names: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(de::value::SeqAccessDeserializer::new(names))
        }
    }
    deserializer.deserialize_any(Names)
}
