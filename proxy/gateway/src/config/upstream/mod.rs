//! Settings of one upstream. Every limit is explicit: pingora's own defaults are none.

mod breaker;
mod host_port;
mod http2;
mod retry_budget;
mod tls;

use layered_config::{HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resilience::{FailureKind, FailureKinds};

pub use breaker::{BreakerConfig, EjectionConfig};
pub use host_port::HostPort;
pub use http2::UpstreamHttp2Config;
pub use retry_budget::RetryBudgetConfig;
pub use tls::UpstreamTlsConfig;

const ADDRESS_FIX: &str = "write host and port, such as \"127.0.0.1:8081\" or \"[::1]:8081\"";

/// One upstream.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamConfig {
    /// `host:port`. A host name stands for every address it resolves to, and is looked up again with
    /// every health probe.
    pub address: String,
    /// Several of them, instead of `address`.
    pub addresses: Vec<String>,
    /// What the upstream speaks.
    pub protocol: UpstreamProtocol,
    /// Connects by TLS. `protocol = "h2"` does so without this table too.
    pub tls: Option<UpstreamTlsConfig>,
    /// Limits of HTTP/2 connections.
    pub http2: UpstreamHttp2Config,
    /// The most requests in flight to the upstream from this gateway; no limit unless given. A request
    /// beyond it does not wait: it falls back, where `fallback_on` has `overloaded`, or gets a 503. Each
    /// gateway counts for itself, and so does one that is being replaced while it drains.
    pub max_concurrent: Option<u32>,
    /// The same for each of its addresses.
    pub max_concurrent_per_address: Option<u32>,
    /// What counts as a failure: `connect`, `timeout`, `reset`, `grpc_unavailable`, `429`, `500` to `599`.
    pub failures: FailureKinds,
    /// When an address is left out for a while.
    pub ejection: EjectionConfig,
    /// The circuit breaker of the whole upstream; none unless given.
    pub breaker: Option<BreakerConfig>,
    /// How much may be sent again.
    pub retry_budget: RetryBudgetConfig,
    /// The longest a connection may take to be made, with its TLS handshake.
    pub connect_timeout: HumanDuration,
    /// The longest the upstream may be silent within an answer, or before it.
    pub read_timeout: HumanDuration,
    /// The longest the upstream may refuse to take bytes.
    pub write_timeout: HumanDuration,
    /// How long an idle connection is kept. Keep it below the upstream's own limit: a request sent
    /// on a connection that the upstream is just closing is lost.
    pub idle_timeout: HumanDuration,
    /// The path asked to learn whether the upstream is healthy.
    pub health_path: String,
    /// How often it is asked.
    pub health_interval: HumanDuration,
    /// How long it may take to answer.
    pub health_timeout: HumanDuration,
}

/// What an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 over TLS, agreed by ALPN.
    H2,
    /// HTTP/2 without TLS, by prior knowledge (RFC 9113, section 3.3).
    H2c,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            address: String::new(),
            addresses: Vec::new(),
            protocol: UpstreamProtocol::Http1,
            tls: None,
            http2: UpstreamHttp2Config::default(),
            max_concurrent: None,
            max_concurrent_per_address: None,
            failures: FailureKinds::new([
                FailureKind::Connect,
                FailureKind::Timeout,
                FailureKind::Reset,
                FailureKind::GrpcUnavailable,
                FailureKind::Status(502),
                FailureKind::Status(503),
                FailureKind::Status(504),
            ]),
            ejection: EjectionConfig::default(),
            breaker: None,
            retry_budget: RetryBudgetConfig::default(),
            connect_timeout: HumanDuration::from_secs(1),
            read_timeout: HumanDuration::from_secs(60),
            write_timeout: HumanDuration::from_secs(30),
            idle_timeout: HumanDuration::from_secs(30),
            health_path: "/health".to_owned(),
            health_interval: HumanDuration::from_secs(2),
            health_timeout: HumanDuration::from_secs(1),
        }
    }
}

impl UpstreamConfig {
    /// Its addresses as they are written.
    pub fn written_addresses(&self) -> impl Iterator<Item = &str> {
        let one = Some(self.address.as_str()).filter(|address| !address.is_empty());
        one.into_iter().chain(self.addresses.iter().map(String::as_str))
    }

    /// Its addresses. What is not valid is left out; [`Validate`] reports it.
    pub(crate) fn host_ports(&self) -> Vec<HostPort> {
        self.written_addresses().filter_map(|address| address.parse().ok()).collect()
    }

    /// How to connect by TLS, if it is TLS.
    pub(crate) fn tls(&self) -> Option<UpstreamTlsConfig> {
        match self.protocol {
            UpstreamProtocol::H2 => Some(self.tls.clone().unwrap_or_default()),
            UpstreamProtocol::Http1 => self.tls.clone(),
            UpstreamProtocol::H2c => None,
        }
    }

    fn validate_addresses(&self, report: &mut Report) {
        if self.address.is_empty() && self.addresses.is_empty() {
            report.problem("address", "it is required and not set", ADDRESS_FIX);
        }
        if !self.address.is_empty() && !self.addresses.is_empty() {
            let fix = "write all of them in `addresses`, and remove `address`";
            report.problem("addresses", "`address` is set too", fix);
        }
        if let Some(Err(problem)) = Some(&self.address).filter(|one| !one.is_empty()).map(|one| one.parse::<HostPort>())
        {
            report.problem("address", problem.to_string(), ADDRESS_FIX);
        }
        for (index, address) in self.addresses.iter().enumerate() {
            let key = format!("addresses[{index}]");
            if let Err(problem) = address.parse::<HostPort>() {
                report.problem(&key, problem.to_string(), ADDRESS_FIX);
            } else if self.addresses[..index].contains(address) {
                report.problem(&key, "it is in the list already", "remove one of the two");
            }
        }
    }
}

impl Validate for UpstreamConfig {
    fn validate(&self, report: &mut Report) {
        self.validate_addresses(report);
        for (key, duration) in [
            ("connect_timeout", self.connect_timeout),
            ("read_timeout", self.read_timeout),
            ("write_timeout", self.write_timeout),
            ("idle_timeout", self.idle_timeout),
            ("health_interval", self.health_interval),
            ("health_timeout", self.health_timeout),
        ] {
            if duration.get().is_zero() {
                report.problem(key, "it must not be zero", "write a duration such as \"30s\" or \"500ms\"");
            }
        }
        let caps =
            [("max_concurrent", self.max_concurrent), ("max_concurrent_per_address", self.max_concurrent_per_address)];
        for (key, _) in caps.into_iter().filter(|(_, cap)| *cap == Some(0)) {
            report.problem(key, "no request would ever be sent", "write 1 or more, or leave it out for no limit");
        }
        if self.protocol == UpstreamProtocol::H2c && self.tls.is_some() {
            let fix = "write protocol = \"h2\", or remove the table `tls`";
            report.problem("protocol", "`h2c` is HTTP/2 without TLS, and there is a table `tls`", fix);
        }
        if let Some(tls) = &self.tls {
            report.nested("tls", |report| tls.validate(report));
        }
        report.nested("http2", |report| self.http2.validate(report));
        report.nested("ejection", |report| self.ejection.validate(report));
        report.nested("retry_budget", |report| self.retry_budget.validate(report));
        if let Some(breaker) = &self.breaker {
            report.nested("breaker", |report| breaker.validate(report));
        }
        if self.health_path.parse::<http::uri::PathAndQuery>().is_err() || !self.health_path.starts_with('/') {
            report.problem("health_path", "it is no path", "write a path such as \"/health\"");
        }
    }
}
