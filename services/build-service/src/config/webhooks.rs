//! Settings of what is sent to receivers.

use std::collections::BTreeMap;

use base64::Engine as _;
use layered_config::{ByteSize, HumanDuration, Report, Secret, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{store::CLIENT, webhooks::Allowed};

/// What Standard Webhooks demands of a secret, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Who is told of builds, and how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksConfig {
    /// Signs what is sent to clients that gave no secret of their own: `whsec_` and 24 to 64 bytes in
    /// base64. Without it, each client that wants to be told must give one.
    pub secret: Secret,
    /// Hosts, addresses and networks that messages may go to although they are not public:
    /// `"hooks.internal"`, `"10.1.2.3"`, `"10.1.0.0/16"`.
    pub allow: Vec<String>,
    /// How long a receiver may take to answer, connecting included.
    pub timeout: HumanDuration,
    /// How much of an answer is read; its beginning is kept with the attempt.
    pub response_limit: ByteSize,
    /// How long the second attempt waits at least half the time; each further one waits twice as long, up to
    /// `retry_most`.
    pub retry_first: HumanDuration,
    /// The longest wait between two attempts.
    pub retry_most: HumanDuration,
    /// How often a message is tried before it is given up.
    pub max_attempts: i32,
    /// How long a message is tried before it is given up.
    pub max_age: HumanDuration,
    /// Messages that are sent at the same time.
    pub concurrency: usize,
    /// How often messages are looked for.
    pub poll_interval: HumanDuration,
    /// Those who are told of every build, whoever asked for it, by what they are called in lists and logs. Messages
    /// that wait are sent to whoever has the name then.
    pub receivers: BTreeMap<String, ReceiverConfig>,
}

/// One who is told of every build.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiverConfig {
    /// Where it listens; `{job_id}` stands for the build.
    pub url: String,
    /// The secret that both know.
    pub secret: Secret,
    /// Whether it is told the whole function, environment included, because it registers functions.
    pub registers: bool,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            secret: Secret::default(),
            allow: Vec::new(),
            timeout: HumanDuration::from_secs(10),
            response_limit: ByteSize::from_kib(16),
            retry_first: HumanDuration::from_secs(5),
            retry_most: HumanDuration::from_secs(3_600),
            max_attempts: 25,
            max_age: HumanDuration::from_secs(24 * 3_600),
            concurrency: 16,
            poll_interval: HumanDuration::from_secs(1),
            receivers: BTreeMap::new(),
        }
    }
}

impl Validate for WebhooksConfig {
    fn validate(&self, report: &mut Report) {
        if !self.secret.is_empty() {
            check_secret(report, &self.secret);
        }
        for (place, entry) in self.allow.iter().enumerate() {
            if let Err(message) = Allowed::check(entry) {
                report.problem(
                    &format!("allow[{place}]"),
                    message,
                    "write a host such as \"hooks.internal\", or a network such as \"10.1.0.0/16\"",
                );
            }
        }
        for (key, duration) in [
            ("timeout", self.timeout),
            ("retry_first", self.retry_first),
            ("max_age", self.max_age),
            ("poll_interval", self.poll_interval),
        ] {
            report.longer_than_zero(key, duration);
        }
        if self.retry_most < self.retry_first {
            report.problem("retry_most", "it is shorter than retry_first", "write a longer duration");
        }
        report.at_least_one("response_limit", self.response_limit.bytes());
        report.at_least_one("max_attempts", u64::try_from(self.max_attempts).unwrap_or(0));
        report.at_least_one("concurrency", self.concurrency as u64);
        for (name, receiver) in &self.receivers {
            let key = format!("receivers.{name}");
            if name == CLIENT {
                report.problem(&key, "`client` is what builds' own clients are called", "give it another name");
            }
            report.nested(&key, |report| receiver.validate(report));
        }
    }
}

impl Validate for ReceiverConfig {
    fn validate(&self, report: &mut Report) {
        if let Err(message) = crate::webhooks::check_url(&self.url_for("00000000-0000-0000-0000-000000000000")) {
            report.problem("url", message, "write one such as \"http://lambda:8081/webhooks/build-status/{job_id}\"");
        }
        check_secret(report, &self.secret);
    }
}

impl ReceiverConfig {
    /// Where it wants to hear of this build.
    #[must_use]
    pub fn url_for(&self, job_id: &str) -> String {
        self.url.replace("{job_id}", job_id)
    }
}

fn check_secret(report: &mut Report, secret: &Secret) {
    if let Err(message) = is_secret(secret) {
        report.problem("secret", message, "make one with: echo whsec_$(openssl rand -base64 32)");
    }
}

/// Whether a text is a secret as Standard Webhooks writes them.
pub(crate) fn is_secret(secret: &Secret) -> Result<(), &'static str> {
    let Some(encoded) = secret.expose().strip_prefix("whsec_") else { return Err("it does not begin with `whsec_`") };
    match base64::engine::general_purpose::STANDARD.decode(encoded) {
        Ok(bytes) if SECRET_BYTES.contains(&bytes.len()) => Ok(()),
        Ok(_) => Err("it has not 24 to 64 bytes"),
        Err(_) => Err("what follows `whsec_` is not base64"),
    }
}
