//! What the planner reads and writes: the snapshot of one run, and the changes decided on it.
//!
//! The store loads snapshots and applies changes; it never decides a state itself.

use jiff::Timestamp;
use tradewind_proto::AttemptId;
use tradewind_proto::state::{RunState, RunType, TaskState};
use uuid::Uuid;

/// One run with all its task instances, as of one version.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSnapshot {
    /// The run.
    pub run: RunInfo,
    /// All its task instances.
    pub tasks: Vec<TaskInstance>,
    /// For tasks with `depends_on_past` or `wait_for_downstream`: how the previous run's instance
    /// stands. Empty when the DAG has no such task.
    pub past: Vec<PastTask>,
}

/// The run's own row.
#[derive(Debug, Clone, PartialEq)]
pub struct RunInfo {
    /// Internal id.
    pub id: Uuid,
    /// DAG name.
    pub dag_id: String,
    /// Run name.
    pub run_id: String,
    /// How it came to be.
    pub run_type: RunType,
    /// Where it stands.
    pub state: RunState,
    /// Logical date; none for runs that have none.
    pub logical_date: Option<Timestamp>,
    /// Earliest start.
    pub run_after: Timestamp,
    /// When it went from queued to running.
    pub start_date: Option<Timestamp>,
    /// Version of the DAG that it runs ([`tradewind_proto::dag::DagSpec::version_hash`]).
    pub version_hash: String,
    /// Optimistic lock: every commit adds one.
    pub version: i64,
}

/// One task instance's row.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskInstance {
    /// Task name.
    pub task_id: String,
    /// −1 for an ordinary task.
    pub map_index: i32,
    /// Where it stands. The claim (queued → running) does not count as a new version of the run:
    /// to the planner both mean "holds an attempt".
    pub state: TaskState,
    /// Tries begun; 0 before the first.
    pub try_number: u32,
    /// Retries allowed.
    pub max_tries: u32,
    /// Fencing token of the newest attempt; 0 before the first. Rises with every attempt.
    pub token: i64,
    /// Newest attempt.
    pub attempt_id: Option<AttemptId>,
    /// Start of the newest try.
    pub start_date: Option<Timestamp>,
    /// End of the newest try.
    pub end_date: Option<Timestamp>,
    /// Not to be scheduled before this (retry delay).
    pub not_before: Option<Timestamp>,
    /// Attempts lost to dead workers: a budget apart from retries.
    pub lost_count: u32,
    /// A branch or short circuit has decided against it (kept so that clearing respects it).
    pub skip_requested: bool,
}

/// How the previous run's instance of a task stands.
#[derive(Debug, Clone, PartialEq)]
pub struct PastTask {
    /// Task name.
    pub task_id: String,
    /// Its state there; none when there was no previous run, or it did not have the task.
    pub state: Option<TaskState>,
    /// Whether all its direct downstreams there succeeded or were skipped.
    pub downstream_done: bool,
    /// Whether there is a previous run at all.
    pub has_previous_run: bool,
}

/// A new state for one task instance. Written as a whole: the members are the row's new values.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskChange {
    /// The row's new values.
    pub task: TaskInstance,
    /// Effective priority (own weight and the graph's), used when it waits for a slot.
    pub priority: i32,
}

/// Decisions on one run, to be committed together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Task instances that changed; each at most once.
    pub tasks: Vec<TaskChange>,
    /// The run's new state, if it changed, and why (`task_failure`, `all_tasks_deadlocked`,
    /// `timed_out`, `success`).
    pub run_state: Option<(RunState, &'static str)>,
    /// Attempts to be cancelled: they hold a slot, and their task instance was decided otherwise.
    pub cancel: Vec<AttemptId>,
}

impl Changes {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.run_state.is_none() && self.cancel.is_empty()
    }
}
