//! Settings of one upstream. Every limit is explicit: pingora's own defaults are none.

use layered_config::{HumanDuration, Report, Validate};
use serde::Deserialize;

/// One upstream.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamConfig {
    /// `host:port`. A host name is looked up again with every health probe.
    pub address: String,
    /// The longest a connection may take to be made.
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

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            address: String::new(),
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

impl Validate for UpstreamConfig {
    fn validate(&self, report: &mut Report) {
        let port = self.address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if self.address.is_empty() {
            report.problem("address", "it is required and not set", "write host and port, such as \"127.0.0.1:8081\"");
        } else if port.is_none_or(|port| port == 0) {
            report.problem("address", "it has no port", "write host and port, such as \"127.0.0.1:8081\"");
        }
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
        if self.health_path.parse::<http::uri::PathAndQuery>().is_err() || !self.health_path.starts_with('/') {
            report.problem("health_path", "it is no path", "write a path such as \"/health\"");
        }
    }
}
