//! Settings of webhooks in.

use std::time::Duration;

use axum::http::HeaderName;
use layered_config::{ByteSize, HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

/// Webhooks in.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksConfig {
    /// How far the time in a signature may be from this machine's.
    pub tolerance: HumanDuration,
    /// Headers whose plain signatures count once. Their senders must never mean the same body twice: GitHub's
    /// `X-Hub-Signature-256` is such a header, a sensor that sends "on" and "on" again has none.
    pub single_use: Vec<String>,
    /// Whether a webhook that was created without a secret takes requests from anybody, as it always did.
    pub allow_without_secret: bool,
    /// The most that the body of a webhook may hold, below the limit of all requests.
    pub body_limit: ByteSize,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            tolerance: HumanDuration::from_secs(300),
            single_use: Vec::new(),
            allow_without_secret: true,
            body_limit: ByteSize::from_mib(8),
        }
    }
}

impl Validate for WebhooksConfig {
    fn validate(&self, report: &mut Report) {
        if !(Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60)).contains(&self.tolerance.get()) {
            report.problem("tolerance", "it must be from 1s to 1day", "write e.g. \"5m\"");
        }
        if let Some(name) = self.single_use.iter().find(|name| HeaderName::try_from(name.as_str()).is_err()) {
            report.problem("single_use", format!("`{name}` is no header's name"), "write e.g. \"X-Hub-Signature-256\"");
        }
        if self.body_limit.bytes() == 0 {
            report.problem("body_limit", "no request with a body could be received", "write a size such as \"1 MiB\"");
        }
    }
}
