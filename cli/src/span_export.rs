//! What becomes of finished spans: sent to the collector, but for those that were discarded.
//!
//! Runs on the batch processor's own thread and never fails anything else: a collector that is away
//! costs one warning and the spans of that time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_otlp::SpanExporter as Otlp;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tracing::{info, warn};
use tradewind_broker::trace;

/// Sends spans, and says when that begins to fail and when it works again.
#[derive(Debug)]
pub(crate) struct SpanExport {
    to: Otlp,
    endpoint: String,
    failing: AtomicBool,
}

impl SpanExport {
    /// Sends through `to`; `endpoint` is for the logs.
    pub(crate) fn new(to: Otlp, endpoint: &str) -> Self {
        Self { to, endpoint: endpoint.to_owned(), failing: AtomicBool::new(false) }
    }

    fn report(&self, result: &OTelSdkResult) {
        let endpoint = &self.endpoint;
        let failed_before = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !failed_before => {
                warn!(endpoint, %error, "traces cannot be sent; those of this time are lost");
            }
            Ok(()) if failed_before => info!(endpoint, "traces are sent again"),
            _ => {}
        }
    }
}

impl SpanExporter for SpanExport {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.retain(|span| !discarded(span));
        if batch.is_empty() {
            return Ok(());
        }
        let result = self.to.export(batch).await;
        self.report(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.to.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.to.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.to.set_resource(resource);
    }
}

fn discarded(span: &SpanData) -> bool {
    span.attributes.iter().any(|attribute| attribute.key.as_str() == trace::DISCARDED)
}
