//! The scheduler's Prometheus metrics, registered once per scheduler.

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};
use tradewind_proto::names::metric;

/// Handles of the metrics that duties write. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) attempts: IntCounterVec,
    pub(crate) lease_expiries: IntCounter,
    pub(crate) stale_writes: IntCounterVec,
    pub(crate) outbox_age: Gauge,
    pub(crate) parse: Histogram,
    pub(crate) import_errors: Gauge,
    pub(crate) republished: IntCounter,
    pub(crate) garbage: IntCounter,
    pub(crate) runs_ended: IntCounterVec,
    pub(crate) conflicts: IntCounter,
    pub(crate) intake_to_publish: Histogram,
}

/// Seconds from 0.1 ms to 3 s: a hop should stay in the first ones.
const HOP_BUCKETS: [f64; 14] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0];

impl Metrics {
    /// Makes and registers them.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let all = Self {
            attempts: labelled(metric::ATTEMPTS, "Attempts ended, by outcome state.", "state")?,
            lease_expiries: IntCounter::new(metric::LEASE_EXPIRIES, "Leases that ran out.")?,
            stale_writes: labelled(
                metric::STALE_WRITES,
                "Writes refused because their token was old.",
                "write",
            )?,
            outbox_age: Gauge::new(
                metric::OUTBOX_AGE,
                "Age of the oldest unpublished outbox row in seconds.",
            )?,
            parse: Histogram::with_opts(HistogramOpts::new(
                metric::PARSE,
                "Seconds from seeing a DAG file change to its stored version.",
            ))?,
            import_errors: Gauge::new(metric::IMPORT_ERRORS, "Files with an import error.")?,
            republished: IntCounter::new(
                metric::REPUBLISHED,
                "Messages published again because nobody claimed them.",
            )?,
            garbage: IntCounter::new(
                "tradewind_intake_garbage_total",
                "Inbox items that were no outcome.",
            )?,
            runs_ended: labelled("tradewind_runs_ended_total", "Runs ended, by state.", "state")?,
            conflicts: IntCounter::new(
                "tradewind_planner_conflicts_total",
                "Commits refused because another scheduler changed the run first.",
            )?,
            intake_to_publish: Histogram::with_opts(
                HistogramOpts::new(
                    "tradewind_intake_to_publish_seconds",
                    "Seconds from reading an outcome to having published what follows it.",
                )
                .buckets(HOP_BUCKETS.to_vec()),
            )?,
        };
        all.enroll(registry)?;
        Ok(all)
    }

    fn enroll(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.attempts.clone()))?;
        registry.register(Box::new(self.lease_expiries.clone()))?;
        registry.register(Box::new(self.stale_writes.clone()))?;
        registry.register(Box::new(self.outbox_age.clone()))?;
        registry.register(Box::new(self.parse.clone()))?;
        registry.register(Box::new(self.import_errors.clone()))?;
        registry.register(Box::new(self.republished.clone()))?;
        registry.register(Box::new(self.garbage.clone()))?;
        registry.register(Box::new(self.runs_ended.clone()))?;
        registry.register(Box::new(self.conflicts.clone()))?;
        registry.register(Box::new(self.intake_to_publish.clone()))
    }
}

fn labelled(name: &str, help: &str, label: &str) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), &[label])
}
