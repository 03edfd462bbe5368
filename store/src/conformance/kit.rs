//! What the cases are written with: a world of one DAG or two, and short names for its events.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, json};
use tradewind_engine::model::{Changes, RunSnapshot, TaskChange, TaskInstance};
use tradewind_proto::AttemptId;
use tradewind_proto::dag::DagSpec;
use tradewind_proto::execution::{
    ClaimItem, ClaimRequest, HeartbeatRequest, LeaseItem, LeaseVerdict,
};
use tradewind_proto::state::{OutcomeState, RunType, TaskState};
use tradewind_proto::workload::{Outcome, OutcomeHead, Xcom};
use uuid::Uuid;

use crate::model::{
    Claim, CommitReport, Committed, Dispatch, FileSync, NewRun, NewTask, Queueing, RunCommit,
    StartRun,
};
use crate::{Error, Store};

/// One store under test, and what keeps its database alive.
#[derive(Debug)]
pub struct Bench {
    stores: Vec<Arc<dyn Store>>,
    _keep: Box<dyn Any + Send + Sync>,
}

/// The lease that claims of the suite get.
pub(super) const LEASE: Duration = Duration::from_secs(10);

pub(super) trait Must<T> {
    fn must(self) -> T;
}

impl<T> Must<T> for Result<T, Error> {
    #[track_caller]
    fn must(self) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("the store refused: {error}"),
        }
    }
}

/// Seconds after an arbitrary instant.
pub(super) fn t(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap_or(Timestamp::MAX)
}

/// A DAG of Python tasks, `(name, upstreams)`.
pub(super) fn dag(dag_id: &str, tasks: &[(&str, &[&str])]) -> DagSpec {
    let tasks: Vec<_> = tasks
        .iter()
        .map(|(task_id, upstream)| {
            json!({"task_id": task_id, "operator": "PythonOperator", "runtime": "python",
                   "upstream": upstream})
        })
        .collect();
    let spec = json!({"dag_id": dag_id, "fileloc": format!("{dag_id}.py"), "generation": "3",
                      "tasks": tasks});
    serde_json::from_value(spec).expect("a valid DAG")
}

pub(super) fn file(spec: &DagSpec) -> FileSync {
    FileSync {
        fileloc: spec.fileloc.clone(),
        dags: vec![spec.clone()],
        error: None,
        paused_by_default: false,
    }
}

pub(super) fn new_run(dag_id: &str, run_id: &str, at: i64) -> NewRun {
    NewRun {
        id: Uuid::now_v7(),
        dag_id: dag_id.to_owned(),
        run_id: run_id.to_owned(),
        run_type: RunType::Manual,
        logical_date: Some(t(at)),
        interval: Some((t(at), t(at + 60))),
        run_after: t(at),
        conf: Map::new(),
        trace_parent: String::new(),
    }
}

pub(super) fn start_of(spec: &DagSpec, run: Uuid) -> StartRun {
    let task = |t: &tradewind_proto::dag::TaskSpec| NewTask {
        task_id: t.task_id.clone(),
        map_index: -1,
        operator: t.operator.clone(),
        queue: t.queue.clone(),
        pool: t.pool.clone(),
        pool_slots: t.pool_slots,
        priority: t.priority_weight,
        max_tries: t.retries,
    };
    StartRun {
        run,
        version_hash: spec.version_hash(),
        max_active_runs: spec.max_active_runs,
        trace_parent: String::new(),
        tasks: spec.tasks.iter().map(task).collect(),
    }
}

/// Limits that hold nothing back.
pub(super) fn open_limits() -> Queueing {
    Queueing { parallelism: None, default_pool_slots: 128, max: 512 }
}

pub(super) fn no_changes(run: Uuid, expected_version: i64) -> RunCommit {
    RunCommit { run, expected_version, finished: Vec::new(), changes: Changes::default() }
}

/// A task instance gets a new attempt and waits for a slot.
pub(super) fn scheduled(task: &TaskInstance) -> TaskChange {
    let task = TaskInstance {
        state: TaskState::Scheduled,
        try_number: task.try_number + 1,
        token: task.token + 1,
        attempt_id: Some(AttemptId(Uuid::now_v7())),
        start_date: None,
        end_date: None,
        ..task.clone()
    };
    TaskChange { task, priority: 1 }
}

pub(super) fn entered(task: &TaskInstance, state: TaskState, at: Timestamp) -> TaskChange {
    TaskChange { task: TaskInstance { state, end_date: Some(at), ..task.clone() }, priority: 1 }
}

pub(super) fn outcome(d: &Dispatch, state: OutcomeState, xcoms: &[(&str, &str)]) -> Outcome {
    let head = OutcomeHead {
        attempt_id: d.attempt_id,
        token: d.token,
        run: d.run,
        task_id: d.task_id.clone(),
        map_index: d.map_index,
        worker: "celery@one".to_owned(),
    };
    let mut outcome = Outcome::new(head, state, t(20), t(21));
    outcome.pid = 4711;
    outcome.xcoms = xcoms
        .iter()
        .map(|(key, json)| Xcom { key: (*key).to_owned(), json: (*json).to_owned() })
        .collect();
    outcome
}

pub(super) fn claim_of(d: &Dispatch, instance: Uuid, nonce: Uuid) -> ClaimRequest {
    ClaimRequest {
        worker: "celery@one".to_owned(),
        instance,
        hostname: "one".to_owned(),
        items: vec![ClaimItem { attempt_id: d.attempt_id, token: d.token, nonce }],
    }
}

/// A claim's verdict, without its grant.
pub(super) fn word(claim: &Claim) -> &'static str {
    match claim {
        Claim::Granted(_) => "granted",
        Claim::Duplicate => "duplicate",
        Claim::Stale => "stale",
    }
}

impl Bench {
    /// `stores` are on the same database, each as another process would have it; `keep` is dropped
    /// after them.
    pub fn new(stores: Vec<Arc<dyn Store>>, keep: impl Any + Send + Sync) -> Self {
        Self { stores, _keep: Box::new(keep) }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.stores[0]
    }

    /// The store as the `n`-th process has it.
    pub fn process(&self, n: usize) -> Arc<dyn Store> {
        Arc::clone(&self.stores[n % self.stores.len()])
    }

    /// Runs `call` in so many tasks at once, spread over the processes.
    pub(super) async fn at_once<T, F>(
        &self,
        n: usize,
        call: impl Fn(usize, Arc<dyn Store>) -> F,
    ) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let tasks: Vec<_> = (0..n).map(|i| tokio::spawn(call(i, self.process(i)))).collect();
        let mut results = Vec::with_capacity(n);
        for task in tasks {
            results.push(task.await.expect("the task ran"));
        }
        results
    }

    pub(super) async fn sync(&self, spec: &DagSpec) -> Vec<String> {
        self.store().sync_file(file(spec), t(0)).await.must()
    }

    /// Records the DAG and starts a run of it.
    pub(super) async fn started(&self, spec: &DagSpec, run_id: &str, at: i64) -> Uuid {
        self.sync(spec).await;
        let run = self.store().trigger(new_run(&spec.dag_id, run_id, at), t(at)).await.must();
        let started = self.store().start_runs(vec![start_of(spec, run.id)], t(at)).await.must();
        assert_eq!(started, [true]);
        run.id
    }

    pub(super) async fn load(&self, run: Uuid) -> RunSnapshot {
        self.store().load_run(run).await.must().expect("the run exists")
    }

    pub(super) async fn task(&self, run: Uuid, task_id: &str) -> TaskInstance {
        let snapshot = self.load(run).await;
        snapshot.tasks.into_iter().find(|t| t.task_id == task_id).expect("the task exists")
    }

    /// Commits changes on the run as it stands now.
    pub(super) async fn change(
        &self,
        run: Uuid,
        finished: Vec<Outcome>,
        tasks: Vec<TaskChange>,
        now: i64,
    ) -> CommitReport {
        let expected_version = self.load(run).await.run.version;
        let changes = Changes { tasks, ..Changes::default() };
        let commit = RunCommit { run, expected_version, finished, changes };
        let report = self.store().commit(vec![commit], &open_limits(), t(now)).await.must();
        assert_eq!(report.results, [Committed::Done { version: expected_version + 1 }]);
        report
    }

    /// Schedules tasks and queues whatever waits.
    pub(super) async fn queue(&self, run: Uuid, tasks: &[&str], now: i64) -> Vec<Dispatch> {
        let changes = self.waiting_changes(run, tasks).await;
        self.change(run, Vec::new(), changes, now).await.dispatch
    }

    pub(super) async fn waiting_changes(&self, run: Uuid, tasks: &[&str]) -> Vec<TaskChange> {
        let snapshot = self.load(run).await;
        let wanted = snapshot.tasks.iter().filter(|t| tasks.contains(&t.task_id.as_str()));
        wanted.map(scheduled).collect()
    }

    /// Schedules tasks without queueing them.
    pub(super) async fn wait(&self, run: Uuid, changes: Vec<TaskChange>) {
        let expected_version = self.load(run).await.run.version;
        let changes = Changes { tasks: changes, ..Changes::default() };
        let commit = RunCommit { run, expected_version, finished: Vec::new(), changes };
        let closed = Queueing { max: 0, ..open_limits() };
        let report = self.store().commit(vec![commit], &closed, t(5)).await.must();
        assert_eq!(report.dispatch, []);
    }

    /// Queues whatever waits, under limits.
    pub(super) async fn drain(&self, queueing: &Queueing) -> CommitReport {
        self.store().commit(Vec::new(), queueing, t(6)).await.must()
    }

    pub(super) async fn claim(&self, d: &Dispatch, now: i64) -> Claim {
        self.claim_as(d, Uuid::nil(), Uuid::now_v7(), now).await
    }

    pub(super) async fn claim_as(
        &self,
        d: &Dispatch,
        instance: Uuid,
        nonce: Uuid,
        now: i64,
    ) -> Claim {
        let request = claim_of(d, instance, nonce);
        self.store().claim(&request, LEASE, t(now)).await.must().remove(0)
    }

    /// One heartbeat of the worker that [`Bench::claim`] claims for.
    pub(super) async fn beat(&self, d: &Dispatch, now: i64) -> LeaseVerdict {
        let request = HeartbeatRequest {
            worker: "celery@one".to_owned(),
            instance: Uuid::nil(),
            hostname: "one".to_owned(),
            queues: vec!["default".to_owned()],
            slots: 4,
            attempts: vec![LeaseItem { attempt_id: d.attempt_id, token: d.token }],
        };
        self.store().heartbeat(&request, LEASE, t(now)).await.must()[0]
    }
}
