//! The metrics of celery-exporter, under its names, so that its boards and alerts go on working.
//! Counters end in `_total` in the exposition, as Python's client writes them.

use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry};
use tradewind_proto::celery::Event;

use super::family::Family;
use super::six::PYTHON_BUCKETS;
use super::{Facts, error_kind, waited};
use crate::flower::state::{Task, Worker};

const SENT: &str = "celery_task_sent_total";
const RECEIVED: &str = "celery_task_received_total";
const STARTED: &str = "celery_task_started_total";
const SUCCEEDED: &str = "celery_task_succeeded_total";
const FAILED: &str = "celery_task_failed_total";
const REJECTED: &str = "celery_task_rejected_total";
const REVOKED: &str = "celery_task_revoked_total";
const RETRIED: &str = "celery_task_retried_total";
const WORKER_UP: &str = "celery_worker_up";
const TASKS_ACTIVE: &str = "celery_worker_tasks_active";
const RUNTIME: &str = "celery_task_runtime";
const QUEUE_WAIT: &str = "celery_task_queue_wait_time";
const QUEUE_LENGTH: &str = "celery_queue_length";
const CONSUMERS: &str = "celery_active_consumer_count";
const WORKERS: &str = "celery_active_worker_count";
const PROCESSES: &str = "celery_active_process_count";

/// Counters but the one of failures, with the event that each counts.
const COUNTERS: [(&str, &str, &str); 7] = [
    ("task-sent", SENT, "Task messages published."),
    ("task-received", RECEIVED, "Tasks received by workers."),
    ("task-started", STARTED, "Task runs started."),
    ("task-succeeded", SUCCEEDED, "Tasks that succeeded."),
    ("task-rejected", REJECTED, "Tasks rejected by workers."),
    ("task-revoked", REVOKED, "Tasks revoked."),
    ("task-retried", RETRIED, "Task runs that failed and will be retried."),
];

#[derive(Debug)]
pub(super) struct Exporter {
    counters: Vec<(&'static str, Family<CounterVec>)>,
    failed: Family<CounterVec>,
    runtime: Family<HistogramVec>,
    queue_wait: Family<HistogramVec>,
    up: Family<GaugeVec>,
    active: Family<GaugeVec>,
    length: Family<GaugeVec>,
    consumers: Family<GaugeVec>,
    workers: Family<GaugeVec>,
    processes: Family<GaugeVec>,
}

impl Exporter {
    pub(super) fn new(registry: &Registry, max: usize) -> prometheus::Result<Self> {
        let task = ["name", "hostname", "queue_name"];
        let histogram = |name: &'static str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(PYTHON_BUCKETS.to_vec());
            Family::new(registry, name, HistogramVec::new(options, &task), max)
        };
        let gauge = |name: &'static str, help: &str, label: &str| {
            Family::new(registry, name, GaugeVec::new(Opts::new(name, help), &[label]), max)
        };
        let mut counters = Vec::new();
        for (kind, name, help) in COUNTERS {
            let vector = CounterVec::new(Opts::new(name, help), &task);
            counters.push((kind, Family::new(registry, name, vector, max)?));
        }
        let failed = Opts::new(FAILED, "Tasks that failed, by exception class.");
        let failed = CounterVec::new(failed, &["name", "hostname", "queue_name", "exception"]);
        let queue = "queue_name";
        Ok(Self {
            counters,
            failed: Family::new(registry, FAILED, failed, max)?,
            runtime: histogram(RUNTIME, "Run time of tasks that succeeded, in seconds.")?,
            queue_wait: histogram(QUEUE_WAIT, "Seconds from sent to started.")?,
            up: gauge(WORKER_UP, "Whether a worker has sent a heartbeat lately.", "hostname")?,
            active: gauge(TASKS_ACTIVE, "Tasks that a worker runs now.", "hostname")?,
            length: gauge(QUEUE_LENGTH, "Messages in a queue.", queue)?,
            consumers: gauge(CONSUMERS, "Consumers of a queue.", queue)?,
            workers: gauge(WORKERS, "Workers that consume a queue.", queue)?,
            processes: gauge(PROCESSES, "Pool slots of the workers of a queue.", queue)?,
        })
    }

    pub(super) fn task(&mut self, event: &Event, task: &Task, queue: &str) {
        let kind = event.kind();
        let name = task.name.as_deref().unwrap_or_default();
        let node = event.text("hostname").unwrap_or_default();
        let labels = [name, host(node), queue];
        if kind == "task-failed" {
            let error = error_kind(task.exception.as_deref());
            self.failed.at(&[labels[0], labels[1], labels[2], error]).inc();
        }
        for (counted, family) in &mut self.counters {
            if *counted == kind {
                family.at(&labels).inc();
            }
        }
        match kind {
            "task-succeeded" => {
                if let Some(runtime) = task.runtime {
                    self.runtime.at(&labels).observe(runtime);
                }
            }
            "task-started" => {
                if let Some(waited) = waited(task) {
                    self.queue_wait.at(&labels).observe(waited);
                }
            }
            _ => {}
        }
    }

    pub(super) fn worker(&mut self, worker: &Worker, alive: bool) {
        let active = worker.active.filter(|_| alive).unwrap_or(0);
        self.up.at(&[host(&worker.hostname)]).set(if alive { 1.0 } else { 0.0 });
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        self.active.at(&[host(&worker.hostname)]).set(active as f64);
    }

    pub(super) fn show(&mut self, facts: &Facts) {
        let known = |name: &str| facts.queues.iter().any(|queue| queue.name == name);
        for family in
            [&mut self.length, &mut self.consumers, &mut self.workers, &mut self.processes]
        {
            family.retain(0, known);
        }
        for queue in &facts.queues {
            let name = [queue.name.as_str()];
            self.length.at(&name).set(queue.ready);
            self.consumers.at(&name).set(queue.consumers);
            self.workers.at(&name).set(queue.workers);
            self.processes.at(&name).set(queue.slots);
        }
    }

    pub(super) fn remove(&mut self, gone: &dyn Fn(&str) -> bool) {
        for (_, family) in &mut self.counters {
            family.retain(1, |node| !gone(node));
        }
        self.failed.retain(1, |node| !gone(node));
        self.runtime.retain(1, |node| !gone(node));
        self.queue_wait.retain(1, |node| !gone(node));
        self.up.retain(0, |node| !gone(node));
        self.active.retain(0, |node| !gone(node));
    }

    pub(super) fn folded(&mut self) -> Vec<(&'static str, u64)> {
        let mut all: Vec<_> = self.counters.iter_mut().map(|(_, f)| f.take_folded()).collect();
        all.push(self.failed.take_folded());
        all.push(self.runtime.take_folded());
        all.push(self.queue_wait.take_folded());
        all.push(self.up.take_folded());
        all.push(self.active.take_folded());
        all.push(self.length.take_folded());
        all
    }
}

/// The host of a node name: `celery@host` is `host`.
pub(super) fn host(node: &str) -> &str {
    node.split_once('@').map_or(node, |(_, host)| host)
}
