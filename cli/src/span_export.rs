//! What becomes of finished spans: sent to the collector, but for those that were discarded.
//!
//! Runs on the batch processor's own thread and never fails anything else: a collector that is away
//! costs one warning and the spans of that time.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::SpanExporter as Otlp;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tracing::{info, warn};
use tradewind_broker::trace;

/// Longest time of one request. The batch processor waits for it, and nobody else.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Why the last request failed; none when it did not.
type Why = Arc<Mutex<Option<String>>>;

/// The exporter's HTTP client; remembers why a request failed.
#[derive(Debug)]
pub(crate) struct SpanClient {
    http: reqwest::blocking::Client,
    why: Why,
}

impl SpanClient {
    /// A client. Not to be made inside a runtime.
    pub(crate) fn new() -> reqwest::Result<Self> {
        let http = reqwest::blocking::Client::builder().timeout(REQUEST_MAX).build()?;
        Ok(Self { http, why: Why::default() })
    }

    /// Where the reason of the last failure is found.
    pub(crate) fn why(&self) -> Why {
        Arc::clone(&self.why)
    }
}

#[async_trait]
impl HttpClient for SpanClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let result = self.http.send_bytes(request).await;
        let why = result.as_ref().err().map(|error| causes(error.as_ref()));
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
        result
    }
}

/// What is behind an error. Its own text names the URL, which may hold a password.
fn causes(error: &(dyn Error + 'static)) -> String {
    let behind = std::iter::successors(error.source(), |cause| (*cause).source());
    let texts: Vec<String> = behind.map(ToString::to_string).collect();
    if texts.is_empty() { "the request failed".to_owned() } else { texts.join(": ") }
}

/// Sends spans, and says when that begins to fail and when it works again.
#[derive(Debug)]
pub(crate) struct SpanExport {
    to: Otlp,
    why: Why,
    failing: AtomicBool,
}

impl SpanExport {
    /// Sends through `to`, whose client leaves its failures in `why`.
    pub(crate) fn new(to: Otlp, why: Why) -> Self {
        Self { to, why, failing: AtomicBool::new(false) }
    }

    fn report(&self, result: &OTelSdkResult) {
        let failed_before = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !failed_before => {
                let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let why = why.unwrap_or_else(|| error.to_string());
                warn!(
                    why,
                    "traces cannot be sent and are lost for now; is the collector at [telemetry] \
                     otlp_endpoint up?"
                );
            }
            Ok(()) if failed_before => info!("traces are sent again"),
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
