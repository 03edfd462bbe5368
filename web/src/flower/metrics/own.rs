//! What users of Flower ask for and do not get: queues, waits, run times, retries and failures by kind
//! of error, dead letters, full pools; and how the monitor itself does.

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};
use tradewind_proto::celery::{Event, state};
use tradewind_proto::names::metric;

use super::family::Family;
use super::{Facts, error_kind, waited};
use crate::flower::state::{REJECTED, Task};

/// Upper bounds in seconds: tasks take milliseconds or hours.
const BUCKETS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0,
    3600.0,
];

const TASKS: &str = "tradewind_fleet_tasks_total";
const FAILURES: &str = "tradewind_fleet_task_failures_total";
const RETRIES: &str = "tradewind_fleet_task_retries_total";
const RUN: &str = "tradewind_fleet_task_run_seconds";
const WAIT: &str = "tradewind_fleet_task_queue_wait_seconds";
const UNACKED: &str = "tradewind_queue_unacked";
const CONSUMERS: &str = "tradewind_queue_consumers";
const OLDEST: &str = "tradewind_queue_oldest_seconds";
const DEAD: &str = "tradewind_dead_letter_depth";
const ONLINE: &str = "tradewind_fleet_workers_online";
const OFFLINE: &str = "tradewind_fleet_workers_offline";
const SLOTS: &str = "tradewind_fleet_pool_slots";
const SATURATION: &str = "tradewind_fleet_pool_saturation";
const BROKER_UP: &str = "tradewind_broker_up";
const EVENTS: &str = "tradewind_monitor_events_total";
const KEPT: &str = "tradewind_monitor_tasks";
const KEPT_BYTES: &str = "tradewind_monitor_task_bytes";
const EVICTED: &str = "tradewind_monitor_tasks_evicted_total";
const FOLDED: &str = "tradewind_monitor_labels_folded_total";
const HISTORY_ERRORS: &str = "tradewind_monitor_history_errors_total";

#[derive(Debug)]
pub(super) struct Own {
    tasks: Family<IntCounterVec>,
    failures: Family<IntCounterVec>,
    retries: Family<IntCounterVec>,
    run: Family<HistogramVec>,
    wait: Family<HistogramVec>,
    depth: Family<GaugeVec>,
    unacked: Family<GaugeVec>,
    consumers: Family<GaugeVec>,
    oldest: Family<GaugeVec>,
    dead: Family<GaugeVec>,
    slots: Family<GaugeVec>,
    saturation: Family<GaugeVec>,
    online: Gauge,
    offline: Gauge,
    broker_up: Gauge,
    kept: Gauge,
    kept_bytes: Gauge,
    pub(super) events: IntCounter,
    evicted: IntCounter,
    pub(super) folded: IntCounterVec,
    pub(super) history_errors: IntCounter,
}

impl Own {
    pub(super) fn new(registry: &Registry, max: usize) -> prometheus::Result<Self> {
        let both = ["task", "queue"];
        let counter = |name: &'static str, help: &str, labels: &[&str]| {
            Family::new(registry, name, IntCounterVec::new(Opts::new(name, help), labels), max)
        };
        let histogram = |name: &'static str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
            Family::new(registry, name, HistogramVec::new(options, &both), max)
        };
        let gauges = |name: &'static str, help: &str, label: &str| {
            Family::new(registry, name, GaugeVec::new(Opts::new(name, help), &[label]), max)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = Gauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let count = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let folded = Opts::new(FOLDED, "Events counted under \"other\" labels");
        let folded = IntCounterVec::new(folded, &["metric"])?;
        registry.register(Box::new(folded.clone()))?;
        let errors = ["task", "queue", "error"];
        Ok(Self {
            tasks: counter(TASKS, "Runs of tasks that ended", &["task", "queue", "state"])?,
            failures: counter(FAILURES, "Tasks that failed, by kind of error", &errors)?,
            retries: counter(RETRIES, "Runs to be repeated, by kind of error", &errors)?,
            run: histogram(RUN, "From started to ended, failures included")?,
            wait: histogram(WAIT, "From sent to started")?,
            depth: gauges(metric::QUEUE_DEPTH, "Messages ready in a queue", "queue")?,
            unacked: gauges(UNACKED, "Messages delivered and not settled, or delayed", "queue")?,
            consumers: gauges(CONSUMERS, "Consumers of a queue", "queue")?,
            oldest: gauges(OLDEST, "Age of the oldest message that nobody has taken", "queue")?,
            dead: gauges(DEAD, "Messages in a queue's dead-letter queue", "queue")?,
            slots: gauges(SLOTS, "Pool slots of a worker", "worker")?,
            saturation: gauges(SATURATION, "Running tasks divided by pool slots", "worker")?,
            online: gauge(ONLINE, "Workers whose heartbeats come")?,
            offline: gauge(OFFLINE, "Workers that are gone and not forgotten yet")?,
            broker_up: gauge(BROKER_UP, "1 while the broker answers")?,
            kept: gauge(KEPT, "Tasks that the monitor remembers")?,
            kept_bytes: gauge(KEPT_BYTES, "Memory of the remembered tasks, about")?,
            events: count(EVENTS, "Events taken in")?,
            evicted: count(EVICTED, "Tasks forgotten to stay within the bounds")?,
            folded,
            history_errors: count(HISTORY_ERRORS, "Writes of the history that failed")?,
        })
    }

    pub(super) fn task(&mut self, event: &Event, task: &Task, queue: &str) {
        let name = task.name.as_deref().unwrap_or_default();
        let both = [name, queue];
        let (ended, error) = match event.kind() {
            "task-started" => {
                if let Some(waited) = waited(task) {
                    self.wait.at(&both).observe(waited);
                }
                return;
            }
            "task-succeeded" => (state::SUCCESS, None),
            "task-failed" => (state::FAILURE, Some(&mut self.failures)),
            "task-retried" => (state::RETRY, Some(&mut self.retries)),
            "task-revoked" => (state::REVOKED, None),
            "task-rejected" => (REJECTED, None),
            _ => return,
        };
        self.tasks.at(&[name, queue, ended]).inc();
        if let Some(errors) = error {
            errors.at(&[name, queue, error_kind(task.exception.as_deref())]).inc();
        }
        let at = event.0.get("timestamp").and_then(serde_json::Value::as_f64);
        let took = match (ended, task.runtime) {
            (state::SUCCESS, Some(runtime)) => Some(runtime),
            (state::SUCCESS | state::FAILURE | state::RETRY, _) => {
                at.zip(task.started).map(|(at, started)| at - started)
            }
            _ => None,
        };
        if let Some(took) = took {
            self.run.at(&both).observe(took.max(0.0));
        }
    }

    pub(super) fn show(&mut self, facts: &Facts) {
        let queue = |name: &str| facts.queues.iter().any(|queue| queue.name == name);
        for family in [
            &mut self.depth,
            &mut self.unacked,
            &mut self.consumers,
            &mut self.oldest,
            &mut self.dead,
        ] {
            family.retain(0, queue);
        }
        for queue in &facts.queues {
            let name = [queue.name.as_str()];
            self.depth.at(&name).set(queue.ready);
            self.unacked.at(&name).set(queue.unacked);
            self.consumers.at(&name).set(queue.consumers);
            self.oldest.at(&name).set(queue.oldest);
            self.dead.at(&name).set(queue.dead);
        }
        let worker = |name: &str| facts.pools.iter().any(|pool| pool.worker == name);
        self.slots.retain(0, worker);
        self.saturation.retain(0, worker);
        for pool in &facts.pools {
            let name = [pool.worker.as_str()];
            self.slots.at(&name).set(pool.slots);
            let share = if pool.slots > 0.0 { pool.active / pool.slots } else { 0.0 };
            self.saturation.at(&name).set(share);
        }
        self.online.set(facts.online);
        self.offline.set(facts.offline);
        self.broker_up.set(if facts.broker_up { 1.0 } else { 0.0 });
        self.kept.set(facts.kept);
        self.kept_bytes.set(facts.kept_bytes);
        self.evicted.inc_by(facts.evicted);
    }

    pub(super) fn folded_now(&mut self) -> Vec<(&'static str, u64)> {
        vec![
            self.tasks.take_folded(),
            self.failures.take_folded(),
            self.retries.take_folded(),
            self.run.take_folded(),
            self.wait.take_folded(),
            self.depth.take_folded(),
            self.slots.take_folded(),
        ]
    }
}
