//! What operators and probes ask of every role: liveness, readiness, metrics. No authentication:
//! nothing here names a secret, a DAG's content or a log.

mod health;
mod scrape;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{Encoder as _, Registry, TextEncoder};
use serde_json::json;

pub use health::Health;
pub(crate) use health::{Vital, monitor};
pub use scrape::Scraper;
pub(crate) use scrape::{WORKER_ONLINE, queue_stats};

/// Asked by `/health/ready`: an error says what is missing.
pub type Readiness = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A readiness that is always given.
pub fn always_ready() -> Readiness {
    Arc::new(|| Box::pin(async { Ok(()) }))
}

/// `/metrics`, `/health/live` and `/health/ready` for roles without pages (scheduler, worker).
pub fn ops_router(registry: Registry, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(|| async move { exposition(&registry.gather()) }))
        .merge(probes(readiness))
}

/// `/health/live` and `/health/ready`.
pub(crate) fn probes(readiness: Readiness) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(readiness)
}

async fn live() -> Response {
    axum::Json(json!({"status": "alive"})).into_response()
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    match readiness().await {
        Ok(()) => axum::Json(json!({"status": "ready"})).into_response(),
        Err(reason) => {
            let body = json!({"status": "not ready", "reason": reason});
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response()
        }
    }
}

/// What several parts of one process keep, as one exposition: a name may appear only once in it.
pub(crate) fn gather(registries: &[Registry]) -> Vec<MetricFamily> {
    merge(registries.iter().flat_map(Registry::gather))
}

/// Families of one name become one. Of two series with the same labels the first counts, unless it is zero.
pub(crate) fn merge(families: impl IntoIterator<Item = MetricFamily>) -> Vec<MetricFamily> {
    let mut merged: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for family in families {
        match merged.entry(family.name().to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(family);
            }
            Entry::Occupied(mut entry) => {
                let both = entry.get_mut().mut_metric();
                for metric in family.get_metric() {
                    // The same labels from two parts: one of them must be the other's zero.
                    let same = both.iter().position(|m| m.get_label() == metric.get_label());
                    match same {
                        None => both.push(metric.clone()),
                        Some(at) if is_zero(&both[at]) => both[at] = metric.clone(),
                        Some(_) => {}
                    }
                }
            }
        }
    }
    merged.into_values().collect()
}

fn is_zero(metric: &Metric) -> bool {
    let counted = metric.get_counter().get_value() + metric.get_gauge().get_value();
    counted.abs() < f64::EPSILON && metric.get_histogram().get_sample_count() == 0
}

/// Metric families in Prometheus's text format.
pub(crate) fn exposition(families: &[prometheus::proto::MetricFamily]) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(families, &mut text) {
        Ok(()) => {
            ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response()
        }
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics: {error}")).into_response()
        }
    }
}
