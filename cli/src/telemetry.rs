//! Logs and traces of the process: set up once, in `main`.

use std::io::IsTerminal as _;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::config::{Config, ConfigError};
use crate::span_export::{SpanClient, SpanExport};

/// They report on every connection what the error of the request says too, or that it was closed as asked.
const QUIET: &str = "rustls_platform_verifier=off,lapin::channels=off";
/// The role of commands that ask or tell the fleet something and end.
pub(crate) const CLIENT: &str = "client";
/// What our crates' log targets begin with.
const OUR_TARGETS: &str = "tradewind";

/// Flushes traces when dropped at the end of `main`.
#[derive(Debug)]
pub(crate) struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        let Some(provider) = self.0.take() else { return };
        match provider.shutdown() {
            Ok(()) => {}
            Err(error @ OTelSdkError::Timeout(_)) => {
                tracing::warn!(%error, "the last traces were not sent in time");
            }
            // A failed export has been reported by the exporter.
            Err(error) => tracing::debug!(%error, "the last traces were not sent"),
        }
    }
}

/// Whether log lines, and with them all of stderr, are JSON.
pub(crate) fn json_logs(config: &Config) -> bool {
    match config.text("logging", "format") {
        "json" => true,
        "text" => false,
        _ => !std::io::stderr().is_terminal(),
    }
}

/// Installs log output (stderr) and, if an endpoint is configured, OTLP traces. Not to be called
/// inside a runtime.
pub(crate) fn init(config: &Config, role: &'static str) -> Result<Telemetry, ConfigError> {
    let level = config.setting("logging", "level");
    // What a server or a fleet warns of is for its logs, not for the answer of every command.
    let quiet = role == CLIENT && level.source == "default";
    let filter = if quiet { "error,lapin=off" } else { level.text.as_str() };
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|error| {
        ConfigError(format!(
            "[logging] level = {filter:?} (from {}) is not valid: {error}",
            level.source
        ))
    })?;
    let logs = if json_logs(config) {
        // The innermost span is enough: spans of ours repeat what the outer ones say.
        let lines = fmt::layer().json().flatten_event(true).with_span_list(false);
        lines.with_writer(std::io::stderr).boxed()
    } else {
        fmt::layer().compact().with_target(false).with_writer(std::io::stderr).boxed()
    };
    let provider = match config.optional("telemetry", "otlp_endpoint") {
        Some(endpoint) => Some(tracer_provider(endpoint, role)?),
        None => None,
    };
    // Not the spans of libraries: the exporter's own HTTP client would feed itself.
    let ours = Targets::new().with_target(OUR_TARGETS, LevelFilter::INFO);
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer("tradewind")).with_filter(ours)
    });
    tracing_subscriber::registry().with(traces).with(logs.with_filter(filter)).init();
    Ok(Telemetry(provider))
}

fn tracer_provider(endpoint: &str, role: &'static str) -> Result<SdkTracerProvider, ConfigError> {
    let client = SpanClient::new()
        .map_err(|error| ConfigError(format!("no HTTP client for traces: {error}")))?;
    let why = client.why();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpJson)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .map_err(|error| {
            ConfigError(format!(
                "[telemetry] otlp_endpoint is not valid: {error}; \
                 expected an http URL, as in http://collector:4318"
            ))
        })?;
    let resource = Resource::builder().with_service_name(format!("tradewind-{role}")).build();
    let exporter = SpanExport::new(exporter, why);
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
