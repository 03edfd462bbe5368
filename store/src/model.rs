//! Rows and arguments of the store's use cases.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tradewind_engine::model::Changes;
use tradewind_proto::AttemptId;
use tradewind_proto::dag::{DagSpec, ImportError};
use tradewind_proto::state::{OutcomeState, RunState, RunType, TaskState};
use tradewind_proto::workload::Outcome;
use uuid::Uuid;

/// What a file of the DAGs folder holds now.
#[derive(Debug, Clone)]
pub struct FileSync {
    /// Path relative to the DAGs folder.
    pub fileloc: String,
    /// DAGs that loaded. With an error, DAGs of this file that are missing here keep their last good
    /// version; without one they are deactivated.
    pub dags: Vec<DagSpec>,
    /// Import error; replaces or clears the file's earlier one.
    pub error: Option<ImportError>,
    /// Whether DAGs seen for the first time start paused, unless they say so themselves.
    pub paused_by_default: bool,
}

/// A DAG's row.
#[derive(Debug, Clone)]
pub struct DagRow {
    /// Name.
    pub dag_id: String,
    /// Newest version.
    pub spec: Arc<DagSpec>,
    /// Its hash.
    pub version_hash: String,
    /// Versions so far, 1-based.
    pub version_number: u32,
    /// No runs are created or started while set.
    pub is_paused: bool,
    /// Found in the DAGs folder at the last look.
    pub is_active: bool,
    /// Next scheduled run, if known and any.
    pub next_run: Option<NextRun>,
    /// When its file was last read.
    pub last_parsed_at: Timestamp,
}

/// A future scheduled run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NextRun {
    /// Logical date.
    pub logical_date: Timestamp,
    /// Data interval.
    pub interval_start: Timestamp,
    /// End of it.
    pub interval_end: Timestamp,
    /// When the run is to be created.
    pub run_after: Timestamp,
}

/// A file's import error.
#[derive(Debug, Clone, Serialize)]
pub struct ImportErrorRow {
    /// File.
    pub fileloc: String,
    /// The error.
    pub error: ImportError,
    /// When it was recorded.
    pub at: Timestamp,
}

/// A DAG whose schedule wants attention: its next run is due, or not computed yet (new version).
#[derive(Debug, Clone)]
pub struct DueDag {
    /// Name.
    pub dag_id: String,
    /// Newest version's hash.
    pub version_hash: String,
    /// Newest version.
    pub spec: Arc<DagSpec>,
    /// The run that is due; none when it has to be computed.
    pub next: Option<NextRun>,
    /// Changes with every advance and every new version: compare-and-set key of
    /// [`crate::RunStore::advance`].
    pub schedule_epoch: i64,
    /// Logical date and interval end of the newest scheduled run.
    pub last: Option<(Timestamp, Timestamp)>,
    /// Runs in state queued or running.
    pub active_runs: u32,
}

/// Moves a DAG's schedule forward, creating the due run in the same transaction.
#[derive(Debug, Clone)]
pub struct Advance {
    /// DAG.
    pub dag_id: String,
    /// From [`DueDag::schedule_epoch`].
    pub schedule_epoch: i64,
    /// The run to create; none when only the next one is computed. A run that exists already (same
    /// run id or same logical date) is left alone and the schedule still advances.
    pub create: Option<NewRun>,
    /// The run after that; none when there is none (any more).
    pub next: Option<NextRun>,
}

/// A run to be created, in state queued.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Internal id.
    pub id: Uuid,
    /// DAG.
    pub dag_id: String,
    /// Run name.
    pub run_id: String,
    /// How it came to be.
    pub run_type: RunType,
    /// Logical date.
    pub logical_date: Option<Timestamp>,
    /// Data interval.
    pub interval: Option<(Timestamp, Timestamp)>,
    /// Earliest start.
    pub run_after: Timestamp,
    /// Conf.
    pub conf: Map<String, Value>,
    /// W3C `traceparent`, or empty.
    pub trace_parent: String,
}

/// A run's row. Its DAG version is fixed when it starts (the newest then).
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Internal id.
    pub id: Uuid,
    /// DAG.
    pub dag_id: String,
    /// Run name.
    pub run_id: String,
    /// How it came to be.
    pub run_type: RunType,
    /// State.
    pub state: RunState,
    /// Logical date.
    pub logical_date: Option<Timestamp>,
    /// Data interval.
    pub interval: Option<(Timestamp, Timestamp)>,
    /// Earliest start.
    pub run_after: Timestamp,
    /// When it was created.
    pub queued_at: Timestamp,
    /// When it started.
    pub start_date: Option<Timestamp>,
    /// When it ended.
    pub end_date: Option<Timestamp>,
    /// Conf.
    pub conf: Map<String, Value>,
    /// Version that it runs; that of the DAG at creation until it starts.
    pub version_hash: String,
    /// W3C `traceparent`, or empty.
    pub trace_parent: String,
}

/// Which runs to list, newest (by run_after, then creation) first.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this DAG only.
    pub dag_id: Option<String>,
    /// In this state only.
    pub state: Option<RunState>,
    /// At most so many; 0 = 100.
    pub limit: u32,
}

/// Starts a queued run: fixes its version and creates its task instances.
#[derive(Debug, Clone)]
pub struct StartRun {
    /// Run.
    pub run: Uuid,
    /// Version to run.
    pub version_hash: String,
    /// From the DAG: running runs at once.
    pub max_active_runs: u32,
    /// W3C `traceparent` for a run that was created without one; may be empty.
    pub trace_parent: String,
    /// Its task instances, all in state none.
    pub tasks: Vec<NewTask>,
}

/// A task instance to be created: what the limits and listings need to know of it.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Task name.
    pub task_id: String,
    /// −1 for an ordinary task.
    pub map_index: i32,
    /// Operator class.
    pub operator: String,
    /// Queue, after pattern routes.
    pub queue: String,
    /// Pool.
    pub pool: String,
    /// Slots of the pool.
    pub pool_slots: u32,
    /// Effective priority.
    pub priority: i32,
    /// Retries allowed.
    pub max_tries: u32,
}

/// A task instance as listed.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskInstanceRow {
    /// DAG.
    pub dag_id: String,
    /// Run name.
    pub run_id: String,
    /// Task.
    pub task_id: String,
    /// −1 for an ordinary task.
    pub map_index: i32,
    /// State.
    pub state: TaskState,
    /// Tries begun.
    pub try_number: u32,
    /// Retries allowed.
    pub max_tries: u32,
    /// Operator class.
    pub operator: String,
    /// Queue.
    pub queue: String,
    /// Pool.
    pub pool: String,
    /// Priority.
    pub priority: i32,
    /// Newest attempt.
    pub attempt_id: Option<AttemptId>,
    /// Its token.
    pub token: i64,
    /// When it was queued last.
    pub queued_at: Option<Timestamp>,
    /// Start of the newest try.
    pub start_date: Option<Timestamp>,
    /// End of it.
    pub end_date: Option<Timestamp>,
    /// Worker that ran it.
    pub worker: String,
    /// Host that ran it.
    pub hostname: String,
    /// Process id there.
    pub pid: u32,
    /// Error text of the newest try.
    pub message: String,
}

/// One attempt as listed (tries of a task instance, tests of the promises).
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRow {
    /// Attempt.
    pub attempt_id: AttemptId,
    /// Task.
    pub task_id: String,
    /// −1 for an ordinary task.
    pub map_index: i32,
    /// Token.
    pub token: i64,
    /// Try that it belongs to.
    pub try_number: u32,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When a worker claimed it.
    pub claimed_at: Option<Timestamp>,
    /// Worker that claimed it.
    pub worker: String,
    /// When its lease ends.
    pub lease_until: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<OutcomeState>,
    /// When its end was recorded.
    pub ended_at: Option<Timestamp>,
}

/// Decisions on one run, with the outcomes that led to them.
#[derive(Debug, Clone)]
pub struct RunCommit {
    /// Run.
    pub run: Uuid,
    /// Version that the decisions were made on; another one means [`Committed::Conflict`].
    pub expected_version: i64,
    /// Outcomes that the planner applied: attempt rows are ended, XComs replaced.
    pub finished: Vec<Outcome>,
    /// New states.
    pub changes: Changes,
}

/// What became of a [`RunCommit`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Committed {
    /// Applied; this is the run's version now.
    Done {
        /// New version.
        version: i64,
    },
    /// The run moved on, or is gone: load it again. Nothing of this commit was applied.
    #[default]
    Conflict,
}

/// The limits of the scheduled → queued critical section, and how much it may do.
#[derive(Debug, Clone)]
pub struct Queueing {
    /// Task instances queued or running at once in the deployment; none = no limit.
    pub parallelism: Option<u32>,
    /// Slots of a pool that is not in the store's pool table.
    pub default_pool_slots: i64,
    /// Most task instances queued by one call.
    pub max: u32,
}

/// What a commit did.
#[derive(Debug, Clone, Default)]
pub struct CommitReport {
    /// One per commit, in order.
    pub results: Vec<Committed>,
    /// Attempts queued by this call, with their outbox rows written: to be published now.
    pub dispatch: Vec<Dispatch>,
    /// Whether task instances remain scheduled that limits did not hold back (more than `max`).
    pub more: bool,
}

/// An attempt to be published to its queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// Attempt.
    pub attempt_id: AttemptId,
    /// Token.
    pub token: i64,
    /// Run.
    pub run: Uuid,
    /// DAG.
    pub dag_id: String,
    /// Run name.
    pub run_id: String,
    /// Task.
    pub task_id: String,
    /// −1 for an ordinary task.
    pub map_index: i32,
    /// Operator class.
    pub operator: String,
    /// Try.
    pub try_number: u32,
    /// Queue.
    pub queue: String,
    /// Priority.
    pub priority: i32,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// The run's W3C `traceparent`, or empty.
    pub trace_parent: String,
}

/// What became of one claim.
#[derive(Debug, Clone)]
pub enum Claim {
    /// Granted.
    Granted(Box<ClaimedAttempt>),
    /// Claimed by another delivery, or ended.
    Duplicate,
    /// Unknown, superseded, or cancelled.
    Stale,
}

/// A granted claim.
#[derive(Debug, Clone)]
pub struct ClaimedAttempt {
    /// The run.
    pub run: RunRow,
    /// Task.
    pub task_id: String,
    /// −1 for an ordinary task.
    pub map_index: i32,
    /// Try.
    pub try_number: u32,
    /// Retries allowed.
    pub max_tries: u32,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// Latest end of a direct upstream, to measure the hop; none for a root.
    pub upstream_ended_at: Option<Timestamp>,
    /// Data interval of the newest earlier successful run.
    pub prev_success_interval: Option<(Timestamp, Timestamp)>,
}

/// An attempt whose lease has run out and whose end is not recorded yet.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpiredLease {
    /// Attempt.
    pub attempt_id: AttemptId,
    /// Token.
    pub token: i64,
    /// Run.
    pub run: Uuid,
    /// Task.
    pub task_id: String,
    /// −1 for an ordinary task.
    pub map_index: i32,
    /// Worker that held it.
    pub worker: String,
    /// When it was claimed.
    pub claimed_at: Timestamp,
}

/// A process that heartbeats: Airflow's job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobRow {
    /// Id of the process's life.
    pub id: Uuid,
    /// `SchedulerJob`, `TriggererJob`, `DagProcessorJob`, `WebJob`.
    pub job_type: String,
    /// Host.
    pub hostname: String,
    /// Whether it has said goodbye.
    pub ended: bool,
    /// When it started.
    pub started_at: Timestamp,
    /// Newest heartbeat.
    pub heartbeat_at: Timestamp,
}

/// A worker, as its heartbeats tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerRow {
    /// Name (`celery@host` form).
    pub worker: String,
    /// Life.
    pub instance: Uuid,
    /// Host.
    pub hostname: String,
    /// Queues.
    pub queues: Vec<String>,
    /// Slots.
    pub slots: u32,
    /// Attempts that it runs.
    pub running: u32,
    /// Newest heartbeat.
    pub heartbeat_at: Timestamp,
}

/// Numbers for metrics and pages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Unfinished task instances by state.
    pub tasks: Vec<(TaskState, u64)>,
    /// Runs queued or running.
    pub runs: Vec<(RunState, u64)>,
    /// Outbox rows not yet published.
    pub unsent: u64,
    /// When the oldest of them was queued.
    pub oldest_unsent: Option<Timestamp>,
    /// Files with an import error.
    pub import_errors: u64,
}

/// A piece of an attempt's log as read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogRead {
    /// Text of the chunks from the asked sequence number on.
    pub text: String,
    /// Ask from here next time.
    pub next_seq: u32,
    /// Whether the attempt has ended, so that no more will come (soon).
    pub ended: bool,
}

impl NewRun {
    /// What the DAG's schedule remembers of this run: its logical date and interval end.
    pub(crate) fn last(&self) -> Option<(Timestamp, Timestamp)> {
        let logical = self.logical_date?;
        Some((logical, self.interval.map_or(logical, |interval| interval.1)))
    }

    pub(crate) fn conf_json(&self) -> String {
        serde_json::to_string(&self.conf).unwrap_or_else(|_| "{}".to_owned())
    }
}
