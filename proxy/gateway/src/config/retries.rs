//! Settings of a route's retries.

use http::Method;
use layered_config::{HumanDuration, Report};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::resilience::{FailureKind, FailureKinds, RetryPolicy};

/// How a route repeats requests that failed. Only idempotent methods are (RFC 9110, section 9.2.2), unless
/// nothing was sent, and only within the upstream's `retry_budget`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetriesConfig {
    /// How often one request is repeated, at most.
    pub attempts: u32,
    /// After which failures: `connect`, `timeout`, `reset`, `429`, `500` to `599`.
    pub on: FailureKinds,
    /// For which methods; every idempotent one unless given.
    pub methods: Vec<String>,
    /// The longest pause before the first repetition; twice as long before each next. How much of it is
    /// left to chance.
    pub backoff: HumanDuration,
    /// The longest pause.
    pub backoff_max: HumanDuration,
}

impl Default for RetriesConfig {
    fn default() -> Self {
        let on = [FailureKind::Connect, FailureKind::Reset, FailureKind::Status(502), FailureKind::Status(503)];
        Self {
            attempts: 1,
            on: FailureKinds::new(on),
            methods: ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"].map(str::to_owned).to_vec(),
            backoff: HumanDuration::from_millis(25),
            backoff_max: HumanDuration::from_millis(250),
        }
    }
}

impl RetriesConfig {
    /// Makes the policy, reporting what is wrong with it.
    pub(super) fn compile(&self, report: &mut Report) -> RetryPolicy {
        if self.attempts == 0 {
            report.problem("attempts", "nothing would be repeated", "write 1 or more, or remove `retries`");
        }
        if self.on.is_empty() {
            report.problem("on", "nothing would be repeated", "name a failure such as \"503\"");
        }
        if self.on.contains(FailureKind::GrpcUnavailable) {
            let fix = "remove it; a gRPC client can repeat the call itself";
            report.problem("on", "gRPC calls are POST, which is not repeated", fix);
        }
        if self.backoff_max < self.backoff {
            report.problem("backoff_max", "it is shorter than `backoff`", format!("write {} or more", self.backoff));
        }
        let read = |(index, text): (usize, &String)| {
            let method = text.parse::<Method>().ok().filter(Method::is_idempotent);
            if method.is_none() {
                let fix = "write idempotent methods only: GET, HEAD, OPTIONS, TRACE, PUT, DELETE";
                report.problem(&format!("methods[{index}]"), "it may not be repeated: it might act twice", fix);
            }
            method
        };
        RetryPolicy {
            attempts: self.attempts,
            on: self.on.clone(),
            methods: self.methods.iter().enumerate().filter_map(read).collect(),
            backoff: self.backoff.get(),
            backoff_max: self.backoff_max.get(),
        }
    }
}
