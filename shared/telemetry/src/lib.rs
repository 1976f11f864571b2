//! What every process tells about itself: logs, traces and metrics.
//!
//! - [`init`] sets up `tracing`: one JSON object a line (or text for people) on standard error,
//!   and OpenTelemetry export over OTLP/HTTP when an endpoint is configured.
//! - [`TraceContext`] is the W3C `traceparent` header, with or without export; [`place`] and [`current`] bring it
//!   from one process to the next, over HTTP and over a queue.
//! - [`FinishedSpans`] takes spans that are made by hand, where those of `tracing` cost too much.
//! - [`metrics`] is the process's Prometheus registry as text, with [`Exemplars`] for whoever reads OpenMetrics.

mod config;
mod exemplars;
mod finished_spans;
mod init;
mod json_lines;
pub mod metrics;
mod openmetrics;
mod propagation;
mod trace_context;

pub use config::{LogFormat, TelemetryConfig};
pub use exemplars::Exemplars;
pub use finished_spans::{FinishedSpan, FinishedSpans, Parent};
pub use init::{BACKGROUND_SPAN, Guard, InitError, init};
pub use propagation::{current, place};
pub use trace_context::{TRACEPARENT, TraceContext};
