//! Settings that every HTTP service has.

use std::net::{Ipv4Addr, SocketAddr};

use layered_config::{ByteSize, HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use telemetry::TelemetryConfig;

/// What [`crate::run`] needs of a service's settings.
pub trait ServiceConfig: DeserializeOwned + JsonSchema + Validate + Send + 'static {
    /// Where and how to serve.
    fn http(&self) -> &HttpConfig;
    /// Logs and traces.
    fn telemetry(&self) -> &TelemetryConfig;
}

/// Where and how to serve HTTP.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address to listen on; port 0 takes a free one, which the log names.
    pub bind: SocketAddr,
    /// The most a request's body may hold.
    pub body_limit: ByteSize,
    /// How long requests, hooks and tasks may take to end after SIGTERM.
    pub drain_deadline: HumanDuration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            body_limit: ByteSize::from_mib(8),
            drain_deadline: HumanDuration::from_secs(30),
        }
    }
}

impl Validate for HttpConfig {
    fn validate(&self, report: &mut Report) {
        if self.body_limit.bytes() == 0 {
            report.problem("body_limit", "no request with a body could be answered", "write a size such as \"8 MiB\"");
        }
        if self.drain_deadline.get().is_zero() {
            report.problem("drain_deadline", "requests would be cut at SIGTERM", "write a duration such as \"30s\"");
        }
    }
}
