//! Setting up `tracing` for a process.

use std::sync::Arc;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchSpanProcessor, Sampler, SdkTracerProvider, SpanProcessor as _},
};
use tracing_subscriber::{EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{FinishedSpans, LogFormat, TelemetryConfig, finished_spans::Shared, json_lines::JsonLines};

/// The span of a task that lives as long as its process. It is for logs: as part of a trace, it would make one trace
/// of all that is done in it.
pub const BACKGROUND_SPAN: &str = "task";

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The OTLP exporter refused its settings.
    #[error("cannot export traces to {endpoint}")]
    Exporter {
        /// The endpoint as configured.
        endpoint: String,
        /// What the exporter said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another part of the process has set up `tracing` before.
    #[error("tracing is set up already in this process")]
    AlreadySet,
}

/// Keeps telemetry going; dropping it sends the spans that are still waiting.
#[must_use = "dropping the guard ends the export of traces"]
#[derive(Debug)]
pub struct Guard(Option<Export>);

/// The way of spans to the collector.
#[derive(Debug)]
struct Export {
    provider: SdkTracerProvider,
    processor: Arc<BatchSpanProcessor>,
    /// Of the traces that begin here.
    sample_ratio: f64,
}

impl Guard {
    /// What takes spans that are made by hand, where the cost of `tracing` is too much; `None` when no export is
    /// configured.
    #[must_use]
    pub fn finished_spans(&self, name: &'static str) -> Option<FinishedSpans> {
        self.0.as_ref().map(|export| FinishedSpans::new(export.processor.clone(), name, export.sample_ratio))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(export) = &self.0
            && let Err(error) = export.provider.shutdown()
        {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Sets up logs and, when configured, the export of traces, for the process called `service`.
///
/// # Errors
/// When the exporter refuses its settings, or `tracing` is set up already.
pub fn init(service: &'static str, config: &TelemetryConfig) -> Result<Guard, InitError> {
    // Validated with the settings; a filter given past validation falls back to `info`.
    let filter = EnvFilter::try_new(&config.log_filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = match config.log_format {
        LogFormat::Json => lines.json().event_format(JsonLines).boxed(),
        LogFormat::Text => lines.with_target(false).boxed(),
    };
    let export = config.otlp_endpoint.as_deref().map(|endpoint| export(service, endpoint, config)).transpose()?;
    // Spans have their places in traces, and pass them on, also where none is exported.
    let provider = export.as_ref().map(|export| export.provider.clone());
    let places = provider.unwrap_or_else(|| SdkTracerProvider::builder().build());
    let traces = tracing_opentelemetry::layer()
        .with_tracer(places.tracer(service))
        .with_filter(filter_fn(|metadata| !(metadata.is_span() && metadata.name() == BACKGROUND_SPAN)));
    tracing_subscriber::registry()
        .with(filter)
        .with(traces)
        .with(logs)
        .try_init()
        .map_err(|_| InitError::AlreadySet)?;
    Ok(Guard(export))
}

fn export(service: &'static str, endpoint: &str, config: &TelemetryConfig) -> Result<Export, InitError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(config.otlp_timeout.get())
        .build()
        .map_err(|error| InitError::Exporter { endpoint: endpoint.to_owned(), source: Box::new(error) })?;
    let resource = Resource::builder().with_service_name(service).build();
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    processor.set_resource(&resource);
    let processor = Arc::new(processor);
    let sample_ratio = config.otlp_sample_ratio;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio)));
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler)
        .with_span_processor(Shared(processor.clone()))
        .with_resource(resource)
        .build();
    Ok(Export { provider, processor, sample_ratio })
}
