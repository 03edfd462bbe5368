//! The monitor's picture of a fleet, made of events alone. Pure: time comes in as an argument, and what
//! is kept has bounds.

mod query;
mod search;
mod task;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tradewind_proto::celery::Event;

pub use query::{Query, SortBy};
pub use search::{Search, SearchError};
pub(crate) use task::REJECTED;
pub use task::Task;
pub use worker::Worker;

/// Task names remembered.
const TYPES_MAX: usize = 10_000;
/// Longest id that is kept, in bytes; Celery's own database stores 155.
const ID_BYTES_MAX: usize = 512;
/// Parents whose children came first.
const ORPHANS_MAX: usize = 10_000;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Tasks.
    pub tasks: usize,
    /// Bytes of tasks, about.
    pub bytes: usize,
    /// Workers.
    pub workers: usize,
}

/// What an event was about, for those who count.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A worker's own event.
    Worker(&'a Worker),
    /// A task's event; with the task after it.
    Task(&'a Task),
    /// Nothing that is known here.
    Ignored,
}

#[derive(Debug)]
struct Entry {
    task: Task,
    touched: u64,
    bytes: usize,
}

/// Workers and tasks.
#[derive(Debug)]
pub struct Monitor {
    bounds: Bounds,
    workers: BTreeMap<String, Worker>,
    tasks: HashMap<String, Entry>,
    /// Task ids by when they last had news, oldest first.
    order: BTreeMap<u64, String>,
    next_touch: u64,
    bytes: usize,
    evicted: u64,
    types: BTreeSet<Arc<str>>,
    orphans: BTreeMap<String, Vec<String>>,
    changed: BTreeSet<String>,
    workers_changed: bool,
}

impl Monitor {
    /// An empty picture.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            workers: BTreeMap::new(),
            tasks: HashMap::new(),
            order: BTreeMap::new(),
            next_touch: 0,
            bytes: 0,
            evicted: 0,
            types: BTreeSet::new(),
            orphans: BTreeMap::new(),
            changed: BTreeSet::new(),
            workers_changed: false,
        }
    }

    /// Takes in an event that was heard at `now` (seconds since 1970).
    pub fn apply(&mut self, event: &Event, now: f64) -> Seen<'_> {
        let Some((group, subject)) = event.kind().split_once('-') else {
            return Seen::Ignored;
        };
        match group {
            "worker" => self.worker_event(subject, event, now),
            "task" => self.task_event(subject, event, now),
            _ => Seen::Ignored,
        }
    }

    fn worker_event(&mut self, subject: &str, event: &Event, now: f64) -> Seen<'_> {
        let Some(host) = event.text("hostname").filter(|host| host.len() <= ID_BYTES_MAX) else {
            return Seen::Ignored;
        };
        if !matches!(subject, "online" | "heartbeat" | "offline") || !self.room_for(host, now) {
            return Seen::Ignored;
        }
        self.workers_changed = true;
        let worker = self.workers.entry(host.to_owned()).or_insert_with(|| Worker::new(host));
        worker.apply(subject, event, now);
        Seen::Worker(worker)
    }

    /// Whether a worker is known or may be added; makes room by forgetting one that is offline.
    fn room_for(&mut self, host: &str, now: f64) -> bool {
        if self.workers.contains_key(host) || self.workers.len() < self.bounds.workers {
            return true;
        }
        let gone = self.workers.values().filter(|worker| !worker.alive(now));
        let oldest = gone.min_by(|a, b| a.seen.total_cmp(&b.seen)).map(|w| w.hostname.clone());
        match oldest {
            Some(oldest) => self.workers.remove(&oldest).is_some(),
            None => false,
        }
    }

    fn task_event(&mut self, subject: &str, event: &Event, now: f64) -> Seen<'_> {
        let (Some(uuid), Some(host)) = (event.text("uuid"), event.text("hostname")) else {
            return Seen::Ignored;
        };
        if uuid.is_empty() || uuid.len() > ID_BYTES_MAX || host.len() > ID_BYTES_MAX {
            return Seen::Ignored;
        }
        let uuid = uuid.to_owned();
        let mut task = match self.tasks.get_mut(&uuid) {
            Some(entry) => std::mem::take(&mut entry.task),
            None => Task::new(&uuid),
        };
        let known = task.apply(subject, event);
        if !known && !self.tasks.contains_key(&uuid) {
            return Seen::Ignored;
        }
        if known && subject != "sent" && self.room_for(host, now) {
            self.workers.entry(host.to_owned()).or_insert_with(|| Worker::new(host)).heard(now);
        }
        if let Some(name) = &task.name
            && self.types.len() < TYPES_MAX
        {
            self.types.insert(Arc::clone(name));
        }
        self.relate(&mut task);
        self.keep(task);
        match self.tasks.get(&uuid) {
            Some(entry) if known => Seen::Task(&entry.task),
            _ => Seen::Ignored,
        }
    }

    /// Tells the parent about this child, and this task about children that came before it.
    fn relate(&mut self, task: &mut Task) {
        for child in self.orphans.remove(&task.uuid).unwrap_or_default() {
            task.add_child(&child);
        }
        let Some(parent) = task.parent_id.clone().filter(|parent| *parent != task.uuid) else {
            return;
        };
        if let Some(entry) = self.tasks.get_mut(&parent) {
            entry.task.add_child(&task.uuid);
            let bytes = entry.task.bytes();
            self.bytes = self.bytes + bytes - entry.bytes;
            entry.bytes = bytes;
        } else if self.orphans.len() < ORPHANS_MAX {
            let children = self.orphans.entry(parent).or_default();
            if !children.contains(&task.uuid) && children.len() < ORPHANS_MAX {
                children.push(task.uuid.clone());
            }
        }
    }

    /// Puts a task in as the one with the newest news, and drops the oldest over the bounds.
    fn keep(&mut self, task: Task) {
        let uuid = task.uuid.clone();
        let touched = self.next_touch;
        self.next_touch += 1;
        let bytes = task.bytes();
        self.bytes += bytes;
        self.changed.insert(uuid.clone());
        self.order.insert(touched, uuid.clone());
        if let Some(old) = self.tasks.insert(uuid, Entry { task, touched, bytes }) {
            self.order.remove(&old.touched);
            self.bytes -= old.bytes;
        }
        while self.tasks.len() > 1
            && (self.tasks.len() > self.bounds.tasks || self.bytes > self.bounds.bytes)
        {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some(entry) = self.tasks.remove(&oldest) {
                self.bytes -= entry.bytes;
            }
            self.changed.remove(&oldest);
            self.orphans.remove(&oldest);
            self.evicted += 1;
        }
    }

    /// Puts back what was kept before a restart, oldest first.
    pub fn restore(&mut self, workers: Vec<Worker>, tasks: Vec<Task>) {
        for worker in workers.into_iter().take(self.bounds.workers) {
            self.workers.insert(worker.hostname.clone(), worker);
        }
        for task in tasks {
            if let Some(name) = &task.name
                && self.types.len() < TYPES_MAX
            {
                self.types.insert(Arc::clone(name));
            }
            self.keep(task);
        }
        self.changed.clear();
        self.workers_changed = false;
        self.evicted = 0;
    }

    /// Forgets workers that have been offline for `after` seconds and says who.
    pub fn purge(&mut self, now: f64, after: f64) -> Vec<String> {
        let gone = |worker: &Worker| !worker.alive(now) && now - worker.seen >= after;
        let names: Vec<String> =
            self.workers.values().filter(|w| gone(w)).map(|w| w.hostname.clone()).collect();
        for name in &names {
            self.workers.remove(name);
        }
        self.workers_changed |= !names.is_empty();
        names
    }

    /// A task by id.
    pub fn task(&self, uuid: &str) -> Option<&Task> {
        self.tasks.get(uuid).map(|entry| &entry.task)
    }

    /// All tasks, those with the newest news first.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.order.values().rev().filter_map(|uuid| self.task(uuid))
    }

    /// How many tasks are kept.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no task is kept.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Bytes of the tasks, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tasks dropped over the bounds since this was last asked.
    pub fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    /// Tasks with news since this was last asked, and whether a worker had any.
    pub fn take_changed(&mut self) -> (Vec<Task>, bool) {
        let changed = std::mem::take(&mut self.changed);
        let tasks = changed.iter().filter_map(|uuid| self.task(uuid)).cloned().collect();
        (tasks, std::mem::take(&mut self.workers_changed))
    }

    /// Workers by name.
    pub fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.values()
    }

    /// A worker by name.
    pub fn worker(&self, hostname: &str) -> Option<&Worker> {
        self.workers.get(hostname)
    }

    /// Names of tasks that were seen, sorted.
    pub fn types(&self) -> Vec<Arc<str>> {
        self.types.iter().cloned().collect()
    }

    /// Per queue, when the oldest task was sent that no worker has taken.
    pub fn waiting_since(&self) -> BTreeMap<Arc<str>, f64> {
        let mut oldest: BTreeMap<Arc<str>, f64> = BTreeMap::new();
        for task in self.tasks() {
            let waits = &*task.state == tradewind_proto::celery::state::PENDING;
            if let (true, None, Some(queue), Some(sent)) =
                (waits, &task.eta, &task.queue, task.sent)
            {
                let at = oldest.entry(Arc::clone(queue)).or_insert(sent);
                *at = at.min(sent);
            }
        }
        oldest
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tradewind_proto::celery::Event;

    use super::{Bounds, Monitor, Seen};

    const SMALL: Bounds = Bounds { tasks: 3, bytes: 1 << 20, workers: 2 };

    fn event(kind: &str, uuid: &str, host: &str, extra: Value) -> Event {
        let mut event = Event::new(kind, json!({"uuid": uuid, "hostname": host}));
        event.0.insert("timestamp".to_owned(), json!(1.0));
        if let Value::Object(extra) = extra {
            event.0.extend(extra);
        }
        event
    }

    #[test]
    fn memory_is_bounded_by_count_and_by_bytes() {
        let mut monitor = Monitor::new(SMALL);
        for n in 0..5 {
            monitor.apply(&event("task-received", &format!("t{n}"), "a", json!({})), 1.0);
        }
        monitor.apply(&event("task-started", "t2", "a", json!({})), 1.0);
        monitor.apply(&event("task-received", "t5", "a", json!({})), 1.0);
        let kept: Vec<&str> = monitor.tasks().map(|task| task.uuid.as_str()).collect();
        assert_eq!(kept, ["t5", "t2", "t4"], "t3 had no news for longest");
        assert_eq!(monitor.take_evicted(), 3);

        let mut monitor = Monitor::new(Bounds { tasks: 100_000, bytes: 20_000, workers: 2 });
        for n in 0..1000 {
            let args = "x".repeat(1000);
            let taken = event("task-received", &format!("t{n}"), "a", json!({"args": args}));
            monitor.apply(&taken, 1.0);
            assert!(monitor.bytes() <= 20_000);
        }
        assert!(monitor.len() > 5 && monitor.len() < 20, "{}", monitor.len());
    }

    #[test]
    fn workers_are_bounded_and_the_gone_make_room() {
        let mut monitor = Monitor::new(SMALL);
        for host in ["a", "b", "c"] {
            monitor.apply(&event("worker-heartbeat", "", host, json!({"freq": 2})), 10.0);
        }
        assert!(monitor.worker("c").is_none(), "both others are alive");
        monitor.apply(&event("worker-heartbeat", "", "b", json!({"freq": 2})), 20.0);
        monitor.apply(&event("worker-heartbeat", "", "c", json!({"freq": 2})), 20.0);
        let names: Vec<&str> = monitor.workers().map(|w| w.hostname.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(monitor.purge(100.0, 90.0), Vec::<String>::new());
        assert_eq!(monitor.purge(111.0, 90.0), ["b", "c"]);
    }

    #[test]
    fn children_find_their_parents_in_either_order() {
        let mut monitor = Monitor::new(SMALL);
        monitor.apply(&event("task-sent", "child", "a", json!({"parent_id": "parent"})), 1.0);
        monitor.apply(&event("task-received", "parent", "a", json!({})), 1.0);
        monitor.apply(&event("task-sent", "later", "a", json!({"parent_id": "parent"})), 1.0);
        let parent = monitor.task("parent").expect("kept");
        let children: Vec<&String> = parent.children.iter().collect();
        assert_eq!(children, ["child", "later"]);
    }

    #[test]
    fn what_is_not_known_is_ignored() {
        let mut monitor = Monitor::new(SMALL);
        for bad in [
            event("task-teleported", "t", "a", json!({})),
            event("worker-elect", "", "a", json!({})),
            event("nonsense", "t", "a", json!({})),
            event("task-received", "", "a", json!({})),
            Event::new("task-received", json!({"uuid": 7, "hostname": "a"})),
            Event::new("", json!({})),
        ] {
            assert!(matches!(monitor.apply(&bad, 1.0), Seen::Ignored), "{bad:?}");
        }
        assert!(monitor.is_empty() && monitor.workers().next().is_none());
    }
}
