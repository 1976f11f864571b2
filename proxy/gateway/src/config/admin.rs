//! Settings of the admin API.

use std::net::SocketAddr;

use layered_config::{Report, Secret, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TlsConfig;

/// An admin token shorter than this can be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// The admin listener.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Address and port; port 0 takes a free one. A loopback address, unless there is TLS.
    pub bind: SocketAddr,
    /// TLS. Without it callers speak plain HTTP.
    pub tls: Option<TlsConfig>,
    /// What operators send as `Authorization: Bearer TOKEN`. The history calls them `operate`.
    pub token: Secret,
    /// What those send who may look and not change anything. The history calls them `view`.
    pub view_token: Secret,
    /// More tokens, for callers that the history should tell apart.
    pub tokens: Vec<AdminTokenConfig>,
    /// Whether `GET /metrics` needs a token too.
    pub metrics_need_token: bool,
    /// How many wrong tokens a minute are told that they are wrong and logged. Right ones always pass:
    /// nobody's mistakes may keep an operator from rolling back.
    pub wrong_tokens_per_minute: u32,
}

/// One caller.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminTokenConfig {
    /// What the history calls the caller.
    pub name: String,
    /// What it may do.
    pub role: AdminRole,
    /// The token.
    #[serde(default)]
    pub token: Secret,
    /// The token's SHA-256 in hexadecimal digits, in place of the token.
    pub sha256: Option<String>,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AdminRole {
    /// Look.
    View,
    /// Look and change.
    Operate,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 9901)),
            tls: None,
            token: Secret::default(),
            view_token: Secret::default(),
            tokens: Vec::new(),
            metrics_need_token: false,
            wrong_tokens_per_minute: 60,
        }
    }
}

impl Validate for AdminConfig {
    fn validate(&self, report: &mut Report) {
        match &self.tls {
            Some(tls) => report.nested("tls", |report| {
                tls.validate(report);
                if tls.bind.is_some() {
                    report.problem("bind", "the admin API has one listener", "set `admin.bind` and remove this");
                }
            }),
            None if !self.bind.ip().is_loopback() => report.problem(
                "bind",
                "without TLS the admin API listens on a loopback address only",
                "write \"127.0.0.1:9901\", or add a table [admin.tls]",
            ),
            None => {}
        }
        let operate = |token: &AdminTokenConfig| token.role == AdminRole::Operate;
        if !self.token.is_empty() || !self.tokens.iter().any(operate) {
            check_token("token", &self.token, report);
        }
        if !self.view_token.is_empty() {
            check_token("view_token", &self.view_token, report);
        }
        let mut secrets = vec![&self.token, &self.view_token];
        for (index, token) in self.tokens.iter().enumerate() {
            report.nested(&format!("tokens[{index}]"), |report| {
                token.validate(report);
                let reserved = token.name == "operate" || token.name == "view";
                if reserved || self.tokens[..index].iter().any(|other| other.name == token.name) {
                    report.problem("name", "another token has this name", "give each token a name of its own");
                }
            });
            secrets.push(&token.token);
        }
        let given = secrets.iter().filter(|secret| !secret.is_empty());
        let mut texts: Vec<&str> = given.map(|secret| secret.expose()).collect();
        texts.sort_unstable();
        if texts.windows(2).any(|pair| pair[0] == pair[1]) {
            report.problem("", "one token is there twice, with different names", "make each caller a token of its own");
        }
    }
}

impl Validate for AdminTokenConfig {
    fn validate(&self, report: &mut Report) {
        if self.name.is_empty()
            || !self.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte))
        {
            let fix = "write letters, digits, dashes, dots, underscores and at signs";
            report.problem("name", "it is not usable as a name in the history", fix);
        }
        match (&self.sha256, self.token.is_empty()) {
            (None, _) => check_token("token", &self.token, report),
            (Some(_), false) => report.problem("sha256", "it stands in place of `token`", "remove one of the two"),
            (Some(hash), true) => {
                if hex::decode(hash).is_ok_and(|hash| hash.len() == 32) {
                    return;
                }
                let fix = "write what `printf %s TOKEN | sha256sum` prints";
                report.problem("sha256", "it is no SHA-256 in 64 hexadecimal digits", fix);
            }
        }
    }
}

fn check_token(key: &str, token: &Secret, report: &mut Report) {
    let token = token.expose();
    let fix = "make one with `openssl rand -hex 24`, and set it here or in the environment (GATEWAY__ADMIN__TOKEN)";
    if token.is_empty() {
        report.problem(key, "it is required and not set", fix);
    } else if token.len() < MIN_TOKEN_BYTES {
        report.problem(key, format!("it is shorter than {MIN_TOKEN_BYTES} bytes"), fix);
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        report.problem(key, "it holds characters that no header can carry", fix);
    }
}
