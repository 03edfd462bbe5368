//! The six metrics of Flower, under its names, with its labels and meanings.

use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry};
use tradewind_proto::celery::Event;

use super::family::Family;
use crate::flower::state::{Task, Worker};

/// Upper bounds of Python's Prometheus client.
pub(super) const PYTHON_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

const EVENTS: &str = "flower_events_total";
const RUNTIME: &str = "flower_task_runtime_seconds";
const PREFETCH_TIME: &str = "flower_task_prefetch_time_seconds";
const PREFETCHED: &str = "flower_worker_prefetched_tasks";
const ONLINE: &str = "flower_worker_online";
const EXECUTING: &str = "flower_worker_number_of_currently_executing_tasks";

#[derive(Debug)]
pub(super) struct Six {
    events: Family<CounterVec>,
    runtime: Family<HistogramVec>,
    prefetch_time: Family<GaugeVec>,
    prefetched: Family<GaugeVec>,
    online: Family<GaugeVec>,
    executing: Family<GaugeVec>,
}

impl Six {
    pub(super) fn new(
        registry: &Registry,
        buckets: &[f64],
        max: usize,
    ) -> prometheus::Result<Self> {
        let buckets = if buckets.is_empty() { PYTHON_BUCKETS } else { buckets };
        let both = &["worker", "task"];
        let runtime = HistogramOpts::new(RUNTIME, "Task runtime").buckets(buckets.to_vec());
        let events = Opts::new(EVENTS, "Number of events");
        let events = CounterVec::new(events, &["worker", "type", "task"]);
        let gauge = |name: &'static str, help: &str, labels: &[&str]| {
            Family::new(registry, name, GaugeVec::new(Opts::new(name, help), labels), max)
        };
        Ok(Self {
            events: Family::new(registry, EVENTS, events, max)?,
            runtime: Family::new(registry, RUNTIME, HistogramVec::new(runtime, both), max)?,
            prefetch_time: gauge(
                PREFETCH_TIME,
                "The time the task spent waiting at the celery worker to be executed.",
                both,
            )?,
            prefetched: gauge(
                PREFETCHED,
                "Number of tasks of given type prefetched at a worker",
                both,
            )?,
            online: gauge(ONLINE, "Worker online status", &["worker"])?,
            executing: gauge(
                EXECUTING,
                "Number of tasks currently executing at a worker",
                &["worker"],
            )?,
        })
    }

    /// Counts a task's event; `task` is what became of it.
    pub(super) fn task(&mut self, event: &Event, task: &Task) {
        let kind = event.kind();
        let worker = event.text("hostname").unwrap_or_default();
        let name = event.text("name").or(task.name.as_deref()).unwrap_or_default();
        self.events.at(&[worker, kind, name]).inc();
        let both = [worker, name];
        if let Some(runtime) = event.0.get("runtime").and_then(serde_json::Value::as_f64)
            && runtime > 0.0
        {
            self.runtime.at(&both).observe(runtime);
        }
        // What waits for its time on purpose tells nothing about prefetching.
        let (None, Some(received)) = (&task.eta, task.received) else {
            return;
        };
        match (kind, task.started) {
            ("task-received", _) => self.prefetched.at(&both).inc(),
            ("task-started", Some(started)) => {
                self.prefetch_time.at(&both).set(started - received);
                self.prefetched.at(&both).dec();
            }
            ("task-succeeded" | "task-failed", Some(_)) => self.prefetch_time.at(&both).set(0.0),
            ("task-revoked" | "task-rejected", None) => self.prefetched.at(&both).dec(),
            _ => {}
        }
    }

    /// Takes in a worker's event.
    pub(super) fn worker(&mut self, event: &Event, worker: &Worker) {
        let name = worker.hostname.as_str();
        self.online(name, event.kind() != "worker-offline");
        if event.kind() == "worker-heartbeat"
            && let Some(active) = event.0.get("active").and_then(serde_json::Value::as_f64)
        {
            self.executing.at(&[name]).set(active);
        }
    }

    /// Flower only follows goodbyes; a worker whose heartbeats stopped is offline here, too.
    pub(super) fn online(&mut self, worker: &str, online: bool) {
        self.online.at(&[worker]).set(if online { 1.0 } else { 0.0 });
    }

    /// Removes the series of workers that are gone.
    pub(super) fn remove(&mut self, gone: &dyn Fn(&str) -> bool) {
        let stays = |worker: &str| !gone(worker);
        self.events.retain(0, stays);
        self.runtime.retain(0, stays);
        self.prefetch_time.retain(0, stays);
        self.prefetched.retain(0, stays);
        self.online.retain(0, stays);
        self.executing.retain(0, stays);
    }

    pub(super) fn folded(&mut self) -> [(&'static str, u64); 6] {
        [
            self.events.take_folded(),
            self.runtime.take_folded(),
            self.prefetch_time.take_folded(),
            self.prefetched.take_folded(),
            self.online.take_folded(),
            self.executing.take_folded(),
        ]
    }
}
