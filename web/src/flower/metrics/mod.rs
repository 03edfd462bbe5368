//! The metrics of a fleet, made from its events and from what queues and workers say when asked.
//! Three sets of names: Flower's, celery-exporter's, ours.

mod exporter;
mod family;
mod own;
mod six;

use std::collections::{HashMap, HashSet};

use prometheus::Registry;
use tradewind_proto::celery::Event;

use self::exporter::Exporter;
use self::own::Own;
use self::six::Six;
use super::FlowerOptions;
use super::state::{Monitor, Seen, Task};

/// Queue of a task when nobody said which.
const QUEUE_UNKNOWN: &str = "unknown";
/// Error kind of a text that is no exception's `repr`.
const ERROR_UNKNOWN: &str = "unknown";

/// One queue, looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueueFacts {
    pub(crate) name: String,
    pub(crate) ready: f64,
    pub(crate) unacked: f64,
    pub(crate) consumers: f64,
    /// Age of the oldest message in seconds; 0 when there is none, or none that tells.
    pub(crate) oldest: f64,
    pub(crate) dead: f64,
    /// Workers that consume it, and their slots.
    pub(crate) workers: f64,
    pub(crate) slots: f64,
}

/// One worker's pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolFacts {
    pub(crate) worker: String,
    pub(crate) active: f64,
    pub(crate) slots: f64,
}

/// What was looked up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) queues: Vec<QueueFacts>,
    pub(crate) pools: Vec<PoolFacts>,
    pub(crate) online: f64,
    pub(crate) offline: f64,
    pub(crate) broker_up: bool,
    pub(crate) kept: f64,
    pub(crate) kept_bytes: f64,
    pub(crate) evicted: u64,
    /// Workers that consume one queue only, with that queue.
    pub(crate) single_queues: HashMap<String, String>,
}

/// All metrics of a monitor, in a registry of its own.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    six: Six,
    exporter: Exporter,
    own: Own,
    single_queues: HashMap<String, String>,
    /// Clients whose names are in labels, and when each was heard last.
    clients: HashMap<String, f64>,
    clients_max: usize,
}

impl Metrics {
    pub(crate) fn new(options: &FlowerOptions) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let max = options.max_series;
        Ok(Self {
            six: Six::new(&registry, &options.task_runtime_metric_buckets, max)?,
            exporter: Exporter::new(&registry, max)?,
            own: Own::new(&registry, max)?,
            single_queues: HashMap::new(),
            clients: HashMap::new(),
            clients_max: max,
            registry,
        })
    }

    pub(crate) fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// Counts an event and what the monitor made of it.
    pub(crate) fn observe(&mut self, event: &Event, seen: &Seen<'_>, now: f64) {
        self.own.events.inc();
        match seen {
            Seen::Task(task) => {
                if event.kind() == "task-sent" {
                    self.client(event.text("hostname").unwrap_or_default(), now);
                }
                let queue = queue_of(&self.single_queues, task);
                self.six.task(event, task);
                self.exporter.task(event, task, queue);
                self.own.task(event, task, queue);
            }
            Seen::Worker(worker) => {
                self.six.worker(event, worker);
                self.exporter.worker(worker, worker.alive(now));
            }
            Seen::Ignored => {}
        }
    }

    /// Shows what was looked up, and which workers are online now.
    pub(crate) fn show(&mut self, facts: Facts, monitor: &Monitor, now: f64) {
        for worker in monitor.workers() {
            let alive = worker.alive(now);
            self.six.online(&worker.hostname, alive);
            self.exporter.worker(worker, alive);
        }
        self.exporter.show(&facts);
        self.own.show(&facts);
        self.single_queues = facts.single_queues;
        let folded = self.six.folded().into_iter().chain(self.exporter.folded());
        for (name, count) in folded.chain(self.own.folded_now()) {
            if count > 0 {
                self.own.folded.with_label_values(&[name]).inc_by(count);
            }
        }
    }

    /// Clients come and go with every process: each is a label value until it is silent for long.
    fn client(&mut self, name: &str, now: f64) {
        if let Some(heard) = self.clients.get_mut(name) {
            *heard = now;
        } else if self.clients.len() < self.clients_max {
            self.clients.insert(name.to_owned(), now);
        }
    }

    /// Removes the series of workers that are gone for good, and of clients silent for `after` seconds.
    pub(crate) fn purge(&mut self, workers: &[String], monitor: &Monitor, now: f64, after: f64) {
        let mut gone: HashSet<String> = workers.iter().cloned().collect();
        self.clients.retain(|name, heard| {
            let stays = now - *heard < after;
            if !stays && monitor.worker(name).is_none() {
                gone.insert(name.clone());
            }
            stays
        });
        if gone.is_empty() {
            return;
        }
        self.six.remove(&|node| gone.contains(node));
        // Several nodes of one host share a series there.
        let hosts: HashSet<&str> = gone.iter().map(|node| exporter::host(node)).collect();
        let alive = |host: &str| {
            let workers = monitor.workers().map(|worker| worker.hostname.as_str());
            workers
                .chain(self.clients.keys().map(String::as_str))
                .any(|n| exporter::host(n) == host)
        };
        let hosts: HashSet<&str> = hosts.into_iter().filter(|host| !alive(host)).collect();
        self.exporter.remove(&|host| hosts.contains(host));
    }

    pub(crate) fn history_failed(&self) {
        self.own.history_errors.inc();
    }
}

fn queue_of<'a>(single: &'a HashMap<String, String>, task: &'a Task) -> &'a str {
    let by_worker = || single.get(task.worker.as_deref()?).map(String::as_str);
    task.queue.as_deref().or_else(by_worker).unwrap_or(QUEUE_UNKNOWN)
}

/// Seconds that a task waited in its queue; none for one that waits for its time on purpose.
fn waited(task: &Task) -> Option<f64> {
    match (&task.eta, task.sent, task.started) {
        (None, Some(sent), Some(started)) if task.retries.unwrap_or(0) == 0 => {
            Some((started - sent).max(0.0))
        }
        _ => None,
    }
}

/// The class in an exception's `repr`: `ValueError('x')` is `ValueError`.
fn error_kind(exception: Option<&str>) -> &str {
    let class = exception.and_then(|text| text.split_once('(')).map(|(class, _)| class);
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    class.filter(|class| !class.is_empty() && class.chars().all(plain)).unwrap_or(ERROR_UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::error_kind;

    #[test]
    fn kinds_of_errors() {
        assert_eq!(error_kind(Some("ValueError('bad (very)')")), "ValueError");
        assert_eq!(error_kind(Some("socket.timeout()")), "socket.timeout");
        for unknown in [None, Some(""), Some("what a mess (really)"), Some("('x')")] {
            assert_eq!(error_kind(unknown), "unknown");
        }
    }
}
