//! What a worker counts. Names that other processes also use come from `proto::names::metric`.

mod fleet;

use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};
use tradewind_proto::names::metric;

pub(crate) use fleet::FleetMetrics;

/// Buckets of the queue wait, seconds.
const WAIT_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0, 3600.0];

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) running: IntGauge,
    pub(crate) slots: IntGauge,
    pub(crate) queue_wait: HistogramVec,
    pub(crate) attempts: IntCounterVec,
    pub(crate) dead_letters: IntCounterVec,
    pub(crate) claims: IntCounterVec,
    pub(crate) log_bytes_lost: IntCounter,
    pub(crate) fleet: FleetMetrics,
}

impl Metrics {
    /// Makes and registers everything.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let vec = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let wait = HistogramOpts::new(metric::QUEUE_WAIT, "Queued to claimed")
            .buckets(WAIT_BUCKETS.to_vec());
        let metrics = Self {
            running: IntGauge::new(metric::RUNNING, "Attempts that this worker runs now")?,
            slots: IntGauge::new(metric::SLOTS, "Slots of this worker")?,
            queue_wait: HistogramVec::new(wait, &["queue"])?,
            attempts: vec(metric::ATTEMPTS, "Attempts ended, by outcome state", &["state"])?,
            dead_letters: vec(metric::DEAD_LETTERS, "Messages dead-lettered", &["queue", "kind"])?,
            claims: vec("tradewind_worker_claims_total", "Claims, by verdict", &["verdict"])?,
            log_bytes_lost: IntCounter::new(
                "tradewind_worker_log_bytes_lost_total",
                "Task output dropped because the log store could not be reached",
            )?,
            fleet: FleetMetrics::new(registry)?,
        };
        register(registry, &metrics.running);
        register(registry, &metrics.slots);
        register(registry, &metrics.queue_wait);
        register(registry, &metrics.attempts);
        register(registry, &metrics.dead_letters);
        register(registry, &metrics.claims);
        register(registry, &metrics.log_bytes_lost);
        Ok(metrics)
    }
}

/// A name that another part of this process has taken leaves the metric out of the page; no reason
/// to refuse work.
fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: &C) {
    if let Err(error) = registry.register(Box::new(collector.clone())) {
        tracing::warn!(%error, "metric is not exported");
    }
}
