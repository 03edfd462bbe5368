//! The store seam. Each method is one use case and one transaction. `now` is the caller's clock;
//! nothing in a driver reads a clock of its own.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use std::sync::Arc;
use tokio::sync::broadcast;
use tradewind_engine::model::RunSnapshot;
use tradewind_proto::AttemptId;
use tradewind_proto::dag::DagSpec;
use tradewind_proto::execution::{
    ClaimRequest, HeartbeatRequest, LeaseVerdict, LogChunk, XcomQuery, XcomReply,
};
use uuid::Uuid;

use crate::Error;
use crate::model::{
    Advance, AttemptRow, Claim, CommitReport, Counts, DagRow, Dispatch, DueDag, ExpiredLease,
    FileSync, ImportErrorRow, JobRow, LogRead, NewRun, Queueing, RunCommit, RunFilter, RunRow,
    StartRun, TaskInstanceRow, WorkerRow,
};

/// DAGs and their versions.
#[async_trait]
pub trait DagStore: Send + Sync {
    /// Records what a file holds now. Returns the DAG ids that have a new version.
    async fn sync_file(&self, file: FileSync, now: Timestamp) -> Result<Vec<String>, Error>;
    /// Deactivates the DAGs (and drops import errors) of files that are not in `present`.
    async fn retain_files(&self, present: &[String], now: Timestamp) -> Result<Vec<String>, Error>;
    /// All active DAGs by name; inactive ones too when asked.
    async fn dags(&self, include_inactive: bool) -> Result<Vec<DagRow>, Error>;
    /// One DAG, active or not.
    async fn dag(&self, dag_id: &str) -> Result<Option<DagRow>, Error>;
    /// A version by its hash. Immutable: drivers keep a bounded cache.
    async fn spec(&self, version_hash: &str) -> Result<Option<Arc<DagSpec>>, Error>;
    /// Pauses or unpauses. [`Error::NotFound`] for an unknown DAG. Wakes schedulers.
    async fn set_paused(&self, dag_id: &str, paused: bool) -> Result<(), Error>;
    /// All import errors by file.
    async fn import_errors(&self) -> Result<Vec<ImportErrorRow>, Error>;
}

/// Runs: creation, start, listing.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// Active, unpaused DAGs whose next run is due at `now` or not computed yet.
    async fn due_dags(&self, now: Timestamp, limit: u32) -> Result<Vec<DueDag>, Error>;
    /// Moves a schedule forward. `false`: another scheduler did so first; nothing was changed.
    async fn advance(&self, advance: Advance, now: Timestamp) -> Result<bool, Error>;
    /// When the earliest known next run is due (unpaused DAGs), to sleep until then.
    async fn next_due(&self) -> Result<Option<Timestamp>, Error>;
    /// Creates a run by hand. [`Error::NotFound`] for an unknown or inactive DAG, [`Error::Exists`]
    /// for a taken run id or logical date. Wakes schedulers.
    async fn trigger(&self, run: NewRun, now: Timestamp) -> Result<RunRow, Error>;
    /// Queued runs of unpaused, active DAGs with `run_after` ≤ `now`, oldest first, at most as many
    /// of a DAG as its `max_active_runs` leaves room for.
    async fn startable_runs(&self, now: Timestamp, limit: u32) -> Result<Vec<RunRow>, Error>;
    /// Starts runs; one answer each: `false` when it was not queued any more or the DAG has its
    /// maximum of running runs (checked in the same transaction).
    async fn start_runs(&self, starts: Vec<StartRun>, now: Timestamp) -> Result<Vec<bool>, Error>;
    /// Runs, newest first.
    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRow>, Error>;
    /// One run by name.
    async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<RunRow>, Error>;
    /// The task instances of a run, in the order they were created.
    async fn task_instances(&self, run: Uuid) -> Result<Vec<TaskInstanceRow>, Error>;
    /// The attempts of a run, oldest first.
    async fn attempts(&self, run: Uuid) -> Result<Vec<AttemptRow>, Error>;
}

/// Planning: snapshots, commits, the outbox.
#[async_trait]
pub trait PlanStore: Send + Sync {
    /// Ids of all running runs (start and takeover of a scheduler).
    async fn running_runs(&self) -> Result<Vec<Uuid>, Error>;
    /// One run with its task instances.
    async fn load_run(&self, run: Uuid) -> Result<Option<RunSnapshot>, Error>;
    /// Commits decisions on any number of runs in one transaction, then queues scheduled task
    /// instances under the limits in the same transaction: creates their attempts (unclaimed) and
    /// outbox rows.
    async fn commit(
        &self,
        commits: Vec<RunCommit>,
        queueing: &Queueing,
        now: Timestamp,
    ) -> Result<CommitReport, Error>;
    /// Marks outbox rows as published.
    async fn mark_sent(&self, attempts: &[AttemptId], now: Timestamp) -> Result<(), Error>;
    /// Outbox rows queued before `before` and never marked as published: their scheduler died
    /// between commit and publish, or the broker was away.
    async fn unsent(&self, before: Timestamp, limit: u32) -> Result<Vec<Dispatch>, Error>;
    /// Attempts published, still unclaimed, and due for another publication: all of them when
    /// `all` (the broker may have lost them), else those whose last publication is older than
    /// `base` × 2^(publications − 1). Counts as a publication.
    async fn republishable(
        &self,
        base: Duration,
        all: bool,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Dispatch>, Error>;
}

/// Attempts: claim, lease, loss.
#[async_trait]
pub trait AttemptStore: Send + Sync {
    /// Claims attempts for a worker: queued → running with a lease, by compare-and-set on the token.
    /// The same nonce again is granted again. Drops their outbox rows. One answer per item.
    async fn claim(
        &self,
        request: &ClaimRequest,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<Claim>, Error>;
    /// Renews leases and records the worker. One answer per attempt; stale ones are counted by the
    /// caller.
    async fn heartbeat(
        &self,
        request: &HeartbeatRequest,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<LeaseVerdict>, Error>;
    /// Attempts whose lease ended before `now`. They are marked, so that later heartbeats are told
    /// `Stale`, and returned again until their end is committed.
    async fn expired_leases(&self, now: Timestamp, limit: u32) -> Result<Vec<ExpiredLease>, Error>;
    /// Makes every lease last at least until `until`, also one that has just run out: after an outage
    /// of our own. Any number of schedulers may do so at once. Returns how many grew. Leases already
    /// marked by `expired_leases` stay as they are.
    async fn extend_leases(&self, until: Timestamp) -> Result<u64, Error>;
    /// Workers seen since `since`.
    async fn workers(&self, since: Timestamp) -> Result<Vec<WorkerRow>, Error>;
}

/// XComs, variables, logs.
#[async_trait]
pub trait DataStore: Send + Sync {
    /// Reads XComs.
    async fn xcoms(&self, query: &XcomQuery) -> Result<XcomReply, Error>;
    /// Reads a variable.
    async fn variable(&self, key: &str) -> Result<Option<String>, Error>;
    /// Sets a variable.
    async fn set_variable(&self, key: &str, value: &str) -> Result<(), Error>;
    /// Appends log chunks; one already stored (same attempt and number) is left alone. Returns how
    /// many were refused because their attempt or token is unknown.
    async fn append_logs(&self, chunks: &[LogChunk]) -> Result<u64, Error>;
    /// Reads an attempt's log from chunk `seq` on, at most 1 MiB.
    async fn read_log(&self, attempt: AttemptId, seq: u32) -> Result<LogRead, Error>;
}

/// Jobs, keys, schema, health.
#[async_trait]
pub trait AdminStore: Send + Sync {
    /// `sqlite` or `postgres`.
    fn kind(&self) -> &'static str;
    /// Whether several processes may share it (SQLite: no).
    fn shared(&self) -> bool;
    /// Brings the schema up to date; idempotent, guarded by a lock. Returns the migrations applied.
    async fn migrate(&self) -> Result<Vec<String>, Error>;
    /// [`Error::Schema`], with what to run, unless the schema is exactly this build's.
    async fn check_schema(&self) -> Result<(), Error>;
    /// Records a heartbeat of a process.
    async fn job_heartbeat(&self, job: &JobRow) -> Result<(), Error>;
    /// Jobs, newest heartbeat first.
    async fn jobs(&self, job_type: Option<&str>, limit: u32) -> Result<Vec<JobRow>, Error>;
    /// Adds a scheduler's public key (32 bytes, base64).
    async fn add_key(&self, key: &str, now: Timestamp) -> Result<(), Error>;
    /// All public keys.
    async fn keys(&self) -> Result<Vec<String>, Error>;
    /// Numbers for metrics and pages.
    async fn counts(&self) -> Result<Counts, Error>;
    /// Whether the database answers now.
    async fn health(&self) -> Result<(), Error>;
    /// Wakes when something was written that schedulers should look at (a trigger, an unpause, a
    /// new DAG version), by any process. A hint: may be late, doubled or lost.
    fn wakeups(&self) -> broadcast::Receiver<()>;
}

/// All use cases.
pub trait Store:
    DagStore + RunStore + PlanStore + AttemptStore + DataStore + AdminStore + fmt::Debug + 'static
{
}

impl<T> Store for T where
    T: DagStore
        + RunStore
        + PlanStore
        + AttemptStore
        + DataStore
        + AdminStore
        + fmt::Debug
        + 'static
{
}
