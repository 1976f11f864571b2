//! Settings of logs and traces.

use layered_config::{HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line, for Loki and its like.
    Json,
    /// Lines for people.
    Text,
}

/// Settings of logs and traces, the same in every process.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// `json` or `text`.
    pub log_format: LogFormat,
    /// What is logged, in the syntax of `RUST_LOG`: `info`, `info,sqlx=warn`.
    pub log_filter: String,
    /// Base address of an OTLP/HTTP collector, such as `http://127.0.0.1:4318`. Spans go to
    /// `/v1/traces` below it. Without it nothing is exported.
    pub otlp_endpoint: Option<String>,
    /// The longest one export may take.
    pub otlp_timeout: HumanDuration,
    /// The share of traces that begin here and are exported, from 0 to 1. Of a trace that began elsewhere the caller
    /// has decided (the `sampled` flag of `traceparent`), and all who are asked on the way do as the first did.
    pub otlp_sample_ratio: f64,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Json,
            log_filter: "info".to_owned(),
            otlp_endpoint: None,
            otlp_timeout: HumanDuration::from_secs(5),
            otlp_sample_ratio: 1.0,
        }
    }
}

impl Validate for TelemetryConfig {
    fn validate(&self, report: &mut Report) {
        if let Err(error) = EnvFilter::try_new(&self.log_filter) {
            report.problem(
                "log_filter",
                format!("it is not a filter: {error}"),
                "write a level such as \"info\", or levels by module such as \"info,sqlx=warn\"",
            );
        }
        if let Some(endpoint) = &self.otlp_endpoint
            && !(endpoint.starts_with("http://") || endpoint.starts_with("https://"))
        {
            report.problem(
                "otlp_endpoint",
                "it is not an HTTP address",
                "write the collector's address, such as \"http://127.0.0.1:4318\"",
            );
        }
        if !(0.0..=1.0).contains(&self.otlp_sample_ratio) {
            report.problem(
                "otlp_sample_ratio",
                format!("{} is no share", self.otlp_sample_ratio),
                "write a number from 0 (none) to 1 (all), such as 0.05",
            );
        }
    }
}
