//! Logs and traces of the process: set up once, in `main`.

use std::io::IsTerminal as _;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::config::{Config, ConfigError};

/// Flushes traces when dropped at the end of `main`.
#[derive(Debug)]
pub(crate) struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown()
        {
            eprintln!("tradewind: the last traces could not be sent: {error}");
        }
    }
}

/// Installs log output (stderr) and, if an endpoint is configured, OTLP traces.
pub(crate) fn init(config: &Config, role: &'static str) -> Result<Telemetry, ConfigError> {
    let filter = config.text("logging", "level");
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        ConfigError(format!(
            "[logging] level = {filter:?} (from {}) is not valid: {error}",
            config.setting("logging", "level").source
        ))
    })?;
    let json = match config.text("logging", "format") {
        "json" => true,
        "text" => false,
        _ => !std::io::stderr().is_terminal(),
    };
    let logs = if json {
        fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
    } else {
        fmt::layer().compact().with_target(false).with_writer(std::io::stderr).boxed()
    };
    let provider = match config.optional("telemetry", "otlp_endpoint") {
        Some(endpoint) => Some(tracer_provider(endpoint, role)?),
        None => None,
    };
    let traces = provider
        .as_ref()
        .map(|p| tracing_opentelemetry::layer().with_tracer(p.tracer("tradewind")));
    tracing_subscriber::registry().with(traces).with(logs.with_filter(filter)).init();
    Ok(Telemetry(provider))
}

fn tracer_provider(endpoint: &str, role: &'static str) -> Result<SdkTracerProvider, ConfigError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpJson)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .map_err(|error| {
            ConfigError(format!(
                "[telemetry] otlp_endpoint = {endpoint:?} is not valid: {error}; \
                 expected an http URL, as in http://collector:4318"
            ))
        })?;
    let resource = Resource::builder().with_service_name(format!("tradewind-{role}")).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
