//! A store that can be away, and that can lose the answer to a commit it has made.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tradewind_engine::model::RunSnapshot;
use tradewind_proto::dag::DagSpec;
use tradewind_proto::execution::{
    ClaimRequest, HeartbeatRequest, LeaseVerdict, LogChunk, XcomQuery, XcomReply,
};
use tradewind_proto::{AttemptId, Timestamp};
use tradewind_store::model::{
    Advance, AttemptRow, Claim, CommitReport, Counts, DagRow, Dispatch, DueDag, ExpiredLease,
    FileSync, ImportErrorRow, JobRow, LogRead, NewRun, Queueing, RunCommit, RunFilter, RunRow,
    StartRun, TaskInstanceRow, WorkerRow,
};
use tradewind_store::{
    AdminStore, AttemptStore, DagStore, DataStore, Error, PlanStore, RunStore, Store,
};
use uuid::Uuid;

pub struct FaultyStore {
    inner: Arc<dyn Store>,
    down: AtomicBool,
    lose_commits: AtomicU32,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

impl FaultyStore {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, down: AtomicBool::new(false), lose_commits: AtomicU32::new(0) }
    }

    /// Every call fails from now on, or works again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// The next commits are made, and answered with an error.
    pub fn lose_commits(&self, count: u32) {
        self.lose_commits.store(count, Ordering::SeqCst);
    }

    fn gate(&self) -> Result<(), Error> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::Unavailable("the test says so".to_owned()));
        }
        Ok(())
    }

    fn lost(&self) -> bool {
        let take = |count: u32| count.checked_sub(1);
        self.lose_commits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }
}

#[async_trait]
impl DagStore for FaultyStore {
    async fn sync_file(&self, file: FileSync, now: Timestamp) -> Result<Vec<String>, Error> {
        self.gate()?;
        self.inner.sync_file(file, now).await
    }

    async fn retain_files(&self, present: &[String], now: Timestamp) -> Result<Vec<String>, Error> {
        self.gate()?;
        self.inner.retain_files(present, now).await
    }

    async fn dags(&self, include_inactive: bool) -> Result<Vec<DagRow>, Error> {
        self.gate()?;
        self.inner.dags(include_inactive).await
    }

    async fn dag(&self, dag_id: &str) -> Result<Option<DagRow>, Error> {
        self.gate()?;
        self.inner.dag(dag_id).await
    }

    async fn spec(&self, version_hash: &str) -> Result<Option<Arc<DagSpec>>, Error> {
        self.gate()?;
        self.inner.spec(version_hash).await
    }

    async fn set_paused(&self, dag_id: &str, paused: bool) -> Result<(), Error> {
        self.gate()?;
        self.inner.set_paused(dag_id, paused).await
    }

    async fn import_errors(&self) -> Result<Vec<ImportErrorRow>, Error> {
        self.gate()?;
        self.inner.import_errors().await
    }
}

#[async_trait]
impl RunStore for FaultyStore {
    async fn due_dags(&self, now: Timestamp, limit: u32) -> Result<Vec<DueDag>, Error> {
        self.gate()?;
        self.inner.due_dags(now, limit).await
    }

    async fn advance(&self, advance: Advance, now: Timestamp) -> Result<bool, Error> {
        self.gate()?;
        self.inner.advance(advance, now).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        self.gate()?;
        self.inner.next_due().await
    }

    async fn trigger(&self, run: NewRun, now: Timestamp) -> Result<RunRow, Error> {
        self.gate()?;
        self.inner.trigger(run, now).await
    }

    async fn startable_runs(&self, now: Timestamp, limit: u32) -> Result<Vec<RunRow>, Error> {
        self.gate()?;
        self.inner.startable_runs(now, limit).await
    }

    async fn start_runs(&self, starts: Vec<StartRun>, now: Timestamp) -> Result<Vec<bool>, Error> {
        self.gate()?;
        self.inner.start_runs(starts, now).await
    }

    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRow>, Error> {
        self.gate()?;
        self.inner.runs(filter).await
    }

    async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<RunRow>, Error> {
        self.gate()?;
        self.inner.run(dag_id, run_id).await
    }

    async fn task_instances(&self, run: Uuid) -> Result<Vec<TaskInstanceRow>, Error> {
        self.gate()?;
        self.inner.task_instances(run).await
    }

    async fn attempts(&self, run: Uuid) -> Result<Vec<AttemptRow>, Error> {
        self.gate()?;
        self.inner.attempts(run).await
    }
}

#[async_trait]
impl PlanStore for FaultyStore {
    async fn running_runs(&self) -> Result<Vec<Uuid>, Error> {
        self.gate()?;
        self.inner.running_runs().await
    }

    async fn load_run(&self, run: Uuid) -> Result<Option<RunSnapshot>, Error> {
        self.gate()?;
        self.inner.load_run(run).await
    }

    async fn commit(
        &self,
        commits: Vec<RunCommit>,
        queueing: &Queueing,
        now: Timestamp,
    ) -> Result<CommitReport, Error> {
        self.gate()?;
        let report = self.inner.commit(commits, queueing, now).await;
        if self.lost() {
            return Err(Error::Unavailable("the answer was lost".to_owned()));
        }
        report
    }

    async fn mark_sent(&self, attempts: &[AttemptId], now: Timestamp) -> Result<(), Error> {
        self.gate()?;
        self.inner.mark_sent(attempts, now).await
    }

    async fn unsent(&self, before: Timestamp, limit: u32) -> Result<Vec<Dispatch>, Error> {
        self.gate()?;
        self.inner.unsent(before, limit).await
    }

    async fn republishable(
        &self,
        base: Duration,
        all: bool,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Dispatch>, Error> {
        self.gate()?;
        self.inner.republishable(base, all, limit, now).await
    }
}

#[async_trait]
impl AttemptStore for FaultyStore {
    async fn claim(
        &self,
        request: &ClaimRequest,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<Claim>, Error> {
        self.gate()?;
        self.inner.claim(request, lease, now).await
    }

    async fn heartbeat(
        &self,
        request: &HeartbeatRequest,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<LeaseVerdict>, Error> {
        self.gate()?;
        self.inner.heartbeat(request, lease, now).await
    }

    async fn expired_leases(&self, now: Timestamp, limit: u32) -> Result<Vec<ExpiredLease>, Error> {
        self.gate()?;
        self.inner.expired_leases(now, limit).await
    }

    async fn extend_leases(&self, until: Timestamp) -> Result<u64, Error> {
        self.gate()?;
        self.inner.extend_leases(until).await
    }

    async fn workers(&self, since: Timestamp) -> Result<Vec<WorkerRow>, Error> {
        self.gate()?;
        self.inner.workers(since).await
    }
}

#[async_trait]
impl DataStore for FaultyStore {
    async fn xcoms(&self, query: &XcomQuery) -> Result<XcomReply, Error> {
        self.gate()?;
        self.inner.xcoms(query).await
    }

    async fn variable(&self, key: &str) -> Result<Option<String>, Error> {
        self.gate()?;
        self.inner.variable(key).await
    }

    async fn set_variable(&self, key: &str, value: &str) -> Result<(), Error> {
        self.gate()?;
        self.inner.set_variable(key, value).await
    }

    async fn append_logs(&self, chunks: &[LogChunk]) -> Result<u64, Error> {
        self.gate()?;
        self.inner.append_logs(chunks).await
    }

    async fn read_log(&self, attempt: AttemptId, seq: u32) -> Result<LogRead, Error> {
        self.gate()?;
        self.inner.read_log(attempt, seq).await
    }
}

#[async_trait]
impl AdminStore for FaultyStore {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn shared(&self) -> bool {
        self.inner.shared()
    }

    async fn migrate(&self) -> Result<Vec<String>, Error> {
        self.gate()?;
        self.inner.migrate().await
    }

    async fn check_schema(&self) -> Result<(), Error> {
        self.gate()?;
        self.inner.check_schema().await
    }

    async fn job_heartbeat(&self, job: &JobRow) -> Result<(), Error> {
        self.gate()?;
        self.inner.job_heartbeat(job).await
    }

    async fn jobs(&self, job_type: Option<&str>, limit: u32) -> Result<Vec<JobRow>, Error> {
        self.gate()?;
        self.inner.jobs(job_type, limit).await
    }

    async fn add_key(&self, key: &str, now: Timestamp) -> Result<(), Error> {
        self.gate()?;
        self.inner.add_key(key, now).await
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        self.gate()?;
        self.inner.keys().await
    }

    async fn counts(&self) -> Result<Counts, Error> {
        self.gate()?;
        self.inner.counts().await
    }

    async fn health(&self) -> Result<(), Error> {
        self.gate()?;
        self.inner.health().await
    }

    fn wakeups(&self) -> broadcast::Receiver<()> {
        self.inner.wakeups()
    }
}
