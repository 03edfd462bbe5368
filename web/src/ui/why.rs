//! Says why a task instance is not running, from what the store and the fleet show.

use std::collections::{BTreeMap, BTreeSet};

use tradewind_proto::dag::DagSpec;
use tradewind_proto::state::{RunState, TaskState};
use tradewind_store::model::{RunRow, TaskInstanceRow, WorkerRow};

/// Upstreams named; the rest is counted.
const NAMES_MAX: usize = 3;

/// What is known about the surroundings of a run.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) spec: &'a DagSpec,
    pub(crate) run: &'a RunRow,
    pub(crate) tasks: &'a [TaskInstanceRow],
    pub(crate) workers: &'a [WorkerRow],
    pub(crate) dag_paused: bool,
}

impl Scene<'_> {
    /// Why the run as a whole does not move; none when it does.
    pub(crate) fn run_waits(&self) -> Option<String> {
        if self.run.state != RunState::Queued {
            return None;
        }
        if self.dag_paused {
            return Some("The DAG is paused; unpause it and this run starts.".to_owned());
        }
        Some(format!(
            "Waits to be started: at most {} runs of this DAG run at once.",
            self.spec.max_active_runs
        ))
    }

    /// Why `task` is not running; none when it is, or has ended.
    pub(crate) fn task_waits(&self, task: &TaskInstanceRow) -> Option<String> {
        match task.state {
            TaskState::None => self.upstream_wait(task),
            TaskState::Scheduled => Some(format!(
                "waits for a slot (pool {}, or a limit of the DAG or deployment)",
                task.pool
            )),
            TaskState::Queued => Some(self.queue_wait(task)),
            TaskState::UpForRetry => Some("waits for its retry delay".to_owned()),
            TaskState::UpForReschedule => Some("gave its slot back until its next look".to_owned()),
            TaskState::Deferred => Some("waits for its trigger".to_owned()),
            _ => None,
        }
    }

    fn upstream_wait(&self, task: &TaskInstanceRow) -> Option<String> {
        let spec = self.spec.task(&task.task_id)?;
        if self.run.state.is_terminal() {
            return Some("the run ended before it".to_owned());
        }
        let open: BTreeSet<&str> = self
            .tasks
            .iter()
            .filter(|other| !other.state.is_terminal())
            .map(|other| other.task_id.as_str())
            .collect();
        let waiting: Vec<&str> =
            spec.upstream.iter().map(String::as_str).filter(|name| open.contains(name)).collect();
        match waiting.len() {
            0 if spec.depends_on_past => Some("waits for its previous run's instance".to_owned()),
            0 => None,
            n if n > NAMES_MAX => {
                let (named, more) = (waiting[..NAMES_MAX].join(", "), n - NAMES_MAX);
                Some(format!("waits for {named} and {more} more"))
            }
            _ => Some(format!("waits for {}", waiting.join(", "))),
        }
    }

    fn queue_wait(&self, task: &TaskInstanceRow) -> String {
        let mut free: BTreeMap<bool, usize> = BTreeMap::new();
        for worker in self.workers.iter().filter(|w| w.queues.contains(&task.queue)) {
            *free.entry(worker.running < worker.slots).or_default() += 1;
        }
        let queue = &task.queue;
        match (free.get(&true), free.get(&false)) {
            (None, None) => format!(
                "no worker is listening on queue {queue}; start one with: tradewind worker -Q {queue}"
            ),
            (None, Some(busy)) => format!("queue {queue}: all slots of {busy} worker(s) are taken"),
            (Some(_), _) => format!("in queue {queue}, about to be taken"),
        }
    }
}
