//! What a worker counts per task type and queue. Task names, queues and error kinds come from
//! messages, so each label has a bounded number of values; the rest is counted as `other`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
};
use tradewind_proto::labels::LabelCap;

use super::{WAIT_BUCKETS, register};

/// Task names told apart.
const TASKS_MAX: usize = 200;
/// Queues told apart.
const QUEUES_MAX: usize = 50;
/// Kinds of errors told apart.
const ERRORS_MAX: usize = 50;

/// Counter {task, queue, state}: runs that ended, by Celery's state name.
const RUNS: &str = "tradewind_worker_task_runs_total";
/// Counter {task, queue, error}: runs that will be repeated.
const RETRIES: &str = "tradewind_worker_task_retries_total";
/// Counter {task, queue, error}: runs that failed for good.
const FAILURES: &str = "tradewind_worker_task_failures_total";
/// Histogram {task, queue}: seconds that a run took, however it ended.
const RUN_SECONDS: &str = "tradewind_worker_task_run_seconds";
/// Histogram {task, queue}: seconds between sent (or due) and started.
const WAIT_SECONDS: &str = "tradewind_worker_task_wait_seconds";
/// Gauge {pool}: slots taken.
const POOL_BUSY: &str = "tradewind_worker_pool_busy";
/// Gauge {pool}: slots there are.
const POOL_SIZE: &str = "tradewind_worker_pool_size";
/// Gauge {pool}: taken slots divided by slots, 0 to 1.
const POOL_SATURATION: &str = "tradewind_worker_pool_saturation";
/// Counter {label}: values that were counted as `other`.
const FOLDED: &str = "tradewind_worker_metric_labels_folded_total";

#[derive(Debug)]
struct Caps {
    tasks: LabelCap,
    queues: LabelCap,
    errors: LabelCap,
}

/// Counters of fleet tasks. All methods are cheap and never wait.
#[derive(Debug)]
pub(crate) struct FleetMetrics {
    caps: Mutex<Caps>,
    runs: IntCounterVec,
    retries: IntCounterVec,
    failures: IntCounterVec,
    run_seconds: HistogramVec,
    wait_seconds: HistogramVec,
    pool_busy: IntGaugeVec,
    pool_size: IntGaugeVec,
    pool_saturation: GaugeVec,
    folded: IntCounterVec,
}

impl FleetMetrics {
    /// Makes and registers them.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let histogram = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(WAIT_BUCKETS.to_vec());
            HistogramVec::new(options, &["task", "queue"])
        };
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["pool"]);
        let share = Opts::new(POOL_SATURATION, "Taken slots divided by slots");
        let errors = ["task", "queue", "error"];
        let metrics = Self {
            caps: Mutex::new(Caps {
                tasks: LabelCap::new(TASKS_MAX),
                queues: LabelCap::new(QUEUES_MAX),
                errors: LabelCap::new(ERRORS_MAX),
            }),
            runs: counter(RUNS, "Runs of fleet tasks that ended", &["task", "queue", "state"])?,
            retries: counter(RETRIES, "Runs that will be repeated, by kind of error", &errors)?,
            failures: counter(FAILURES, "Runs that failed for good, by kind of error", &errors)?,
            run_seconds: histogram(RUN_SECONDS, "Run time, however it ended")?,
            wait_seconds: histogram(WAIT_SECONDS, "From sent (or due) to started")?,
            pool_busy: gauge(POOL_BUSY, "Slots of a pool that are taken")?,
            pool_size: gauge(POOL_SIZE, "Slots of a pool")?,
            pool_saturation: GaugeVec::new(share, &["pool"])?,
            folded: counter(FOLDED, "Label values counted as \"other\"", &["label"])?,
        };
        register(registry, &metrics.runs);
        register(registry, &metrics.retries);
        register(registry, &metrics.failures);
        register(registry, &metrics.run_seconds);
        register(registry, &metrics.wait_seconds);
        register(registry, &metrics.pool_busy);
        register(registry, &metrics.pool_size);
        register(registry, &metrics.pool_saturation);
        register(registry, &metrics.folded);
        Ok(metrics)
    }

    /// A run starts; `waited` seconds lie between sent (or due) and now, if known.
    pub(crate) fn started(&self, task: &str, queue: &str, waited: Option<f64>) {
        let [task, queue] = self.labels(task, queue);
        if let Some(waited) = waited {
            self.wait_seconds.with_label_values(&[task, queue]).observe(waited.max(0.0));
        }
    }

    /// A run of `seconds` ended in a state (`SUCCESS`, `FAILURE`, `RETRY`, `REVOKED`, …). `state` is one
    /// of ours, never text from a message.
    pub(crate) fn ended(&self, task: &str, queue: &str, state: &str, seconds: f64) {
        let [task, queue] = self.labels(task, queue);
        self.runs.with_label_values(&[task, queue, state]).inc();
        self.run_seconds.with_label_values(&[task, queue]).observe(seconds.max(0.0));
    }

    /// A run will be repeated because of an error of this kind.
    pub(crate) fn retried(&self, task: &str, queue: &str, error: &str) {
        let [task, queue] = self.labels(task, queue);
        self.retries.with_label_values(&[task, queue, self.error(error)]).inc();
    }

    /// A run failed for good with an error of this kind.
    pub(crate) fn failed(&self, task: &str, queue: &str, error: &str) {
        let [task, queue] = self.labels(task, queue);
        self.failures.with_label_values(&[task, queue, self.error(error)]).inc();
    }

    /// How full a pool (`async`, `blocking`, `process`, …) is.
    pub(crate) fn pool(&self, pool: &str, busy: u32, size: u32) {
        self.pool_busy.with_label_values(&[pool]).set(i64::from(busy));
        self.pool_size.with_label_values(&[pool]).set(i64::from(size));
        let share = if size == 0 { 0.0 } else { f64::from(busy) / f64::from(size) };
        self.pool_saturation.with_label_values(&[pool]).set(share);
    }

    fn labels<'a>(&self, task: &'a str, queue: &'a str) -> [&'a str; 2] {
        let mut caps = self.caps();
        let labels = [caps.tasks.fold(task), caps.queues.fold(queue)];
        self.count_folded("task", &mut caps.tasks);
        self.count_folded("queue", &mut caps.queues);
        labels
    }

    fn error<'a>(&self, error: &'a str) -> &'a str {
        let mut caps = self.caps();
        let label = caps.errors.fold(error);
        self.count_folded("error", &mut caps.errors);
        label
    }

    fn count_folded(&self, label: &str, cap: &mut LabelCap) {
        let folded = cap.take_folded();
        if folded > 0 {
            self.folded.with_label_values(&[label]).inc_by(folded);
        }
    }

    fn caps(&self) -> MutexGuard<'_, Caps> {
        self.caps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder as _, Registry, TextEncoder};

    use super::{FleetMetrics, TASKS_MAX};

    fn page(registry: &Registry) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).expect("encodes");
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn names_labels_and_bounds() {
        let registry = Registry::new();
        let metrics = FleetMetrics::new(&registry).expect("registers");
        metrics.started("add", "q", Some(0.2));
        metrics.ended("add", "q", "SUCCESS", 0.3);
        metrics.retried("add", "q", "TimeoutError");
        metrics.failed("add", "q", "ValueError");
        metrics.pool("async", 3, 4);
        for n in 0..TASKS_MAX + 5 {
            metrics.ended(&format!("t{n}"), "q", "SUCCESS", 0.0);
        }
        let text = page(&registry);
        for line in [
            "tradewind_worker_task_runs_total{queue=\"q\",state=\"SUCCESS\",task=\"add\"} 1",
            "tradewind_worker_task_retries_total{error=\"TimeoutError\",queue=\"q\",task=\"add\"} 1",
            "tradewind_worker_task_failures_total{error=\"ValueError\",queue=\"q\",task=\"add\"} 1",
            "tradewind_worker_task_wait_seconds_count{queue=\"q\",task=\"add\"} 1",
            "tradewind_worker_task_run_seconds_count{queue=\"q\",task=\"add\"} 1",
            "tradewind_worker_pool_saturation{pool=\"async\"} 0.75",
            "tradewind_worker_task_runs_total{queue=\"q\",state=\"SUCCESS\",task=\"other\"} 6",
            "tradewind_worker_metric_labels_folded_total{label=\"task\"} 6",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
        }
    }
}
