//! A whole deployment in one process on tokio's paused clock: store, broker, results, schedulers and a
//! worker that is test code.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part; tests may panic"
)]

pub mod broker;
pub mod faulty;
pub mod worker;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tradewind_broker::{MemoryBroker, MemoryResults};
use tradewind_proto::Timestamp;
use tradewind_proto::clock::{Clock, Ids};
use tradewind_proto::dag::DagSpec;
use tradewind_proto::sign::SigningKey;
use tradewind_proto::state::{RunState, RunType, TaskState};
use tradewind_scheduler::{Error, Scheduler, SchedulerDeps, SchedulerHandle, SchedulerOptions};
use tradewind_store::model::{FileSync, NewRun, RunFilter, RunRow, TaskInstanceRow};
use tradewind_store::{AdminStore as _, DagStore as _, RunStore as _, SqliteStore};
use uuid::Uuid;

use broker::FaultyBroker;
use faulty::FaultyStore;

/// Longest (virtual) wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Wall time that follows tokio's clock.
#[derive(Debug)]
pub struct TestClock {
    base: Timestamp,
    start: tokio::time::Instant,
}

impl TestClock {
    pub fn at(base: &str) -> Arc<Self> {
        Arc::new(Self { base: base.parse().unwrap(), start: tokio::time::Instant::now() })
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.base + self.start.elapsed()
    }
}

/// Ids in order.
#[derive(Debug, Default)]
pub struct TestIds(AtomicU64);

impl Ids for TestIds {
    fn next(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1)
    }
}

#[derive(Debug, Clone)]
pub struct World {
    pub store: Arc<FaultyStore>,
    pub broker: Arc<FaultyBroker>,
    pub results: Arc<MemoryResults>,
    pub clock: Arc<TestClock>,
    pub ids: Arc<TestIds>,
    pub key: Arc<SigningKey>,
}

/// A running scheduler.
pub struct Running {
    pub handle: SchedulerHandle,
    pub registry: prometheus::Registry,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// As `kill -9` would: nothing is finished.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub fn counter(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|f| f.name() == name);
        family.map_or(0.0, |f| f.get_metric().iter().map(|m| m.get_counter().get_value()).sum())
    }
}

impl World {
    pub async fn new() -> Self {
        Self::at("2026-11-21T00:00:00Z").await
    }

    pub async fn at(now: &str) -> Self {
        Self::on(SqliteStore::in_memory_inline().unwrap(), now).await
    }

    pub async fn on(store: SqliteStore, now: &str) -> Self {
        store.migrate().await.unwrap();
        let clock = TestClock::at(now);
        Self {
            store: Arc::new(FaultyStore::new(Arc::new(store))),
            broker: Arc::new(FaultyBroker::new(MemoryBroker::new(clock.clone()))),
            results: Arc::new(MemoryResults::new()),
            clock,
            ids: Arc::new(TestIds::default()),
            key: Arc::new(SigningKey::from_seed(&[7; 32]).unwrap()),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn options() -> SchedulerOptions {
        SchedulerOptions { dagfiles: false, ..SchedulerOptions::default() }
    }

    pub fn deps(&self) -> SchedulerDeps {
        SchedulerDeps {
            store: self.store.clone(),
            broker: self.broker.clone(),
            results: self.results.clone(),
            signing_key: self.key.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            registry: prometheus::Registry::new(),
        }
    }

    pub fn scheduler(&self) -> Running {
        self.scheduler_with(Self::options())
    }

    pub fn scheduler_with(&self, options: SchedulerOptions) -> Running {
        let deps = self.deps();
        let registry = deps.registry.clone();
        let scheduler = Scheduler::new(options, deps).unwrap();
        let handle = scheduler.handle();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(scheduler.run(shutdown.clone()));
        Running { handle, registry, shutdown, task }
    }

    pub async fn add(&self, spec: Value) {
        let spec: DagSpec = serde_json::from_value(spec).unwrap();
        tradewind_engine::validate::validate(&spec).unwrap();
        let file = FileSync {
            fileloc: spec.fileloc.clone(),
            dags: vec![spec],
            error: None,
            paused_by_default: false,
        };
        self.store.sync_file(file, self.now()).await.unwrap();
    }

    pub async fn trigger(&self, dag_id: &str, run_id: &str) -> Uuid {
        let run = NewRun {
            id: self.ids.next(),
            dag_id: dag_id.to_owned(),
            run_id: run_id.to_owned(),
            run_type: RunType::Manual,
            logical_date: None,
            interval: None,
            run_after: self.now(),
            conf: serde_json::Map::new(),
            trace_parent: String::new(),
        };
        self.store.trigger(run, self.now()).await.unwrap().id
    }

    pub async fn run(&self, dag_id: &str, run_id: &str) -> RunRow {
        self.store.run(dag_id, run_id).await.unwrap().unwrap()
    }

    pub async fn runs(&self, dag_id: &str) -> Vec<RunRow> {
        let filter = RunFilter { dag_id: Some(dag_id.to_owned()), state: None, limit: 1000 };
        self.store.runs(filter).await.unwrap()
    }

    pub async fn ended(&self, dag_id: &str, run_id: &str) -> RunState {
        until("the run to end", || async {
            let run = self.store.run(dag_id, run_id).await.ok()??;
            run.state.is_terminal().then_some(run.state)
        })
        .await
    }

    pub async fn task(&self, run: Uuid, task_id: &str) -> TaskInstanceRow {
        let tasks = self.store.task_instances(run).await.unwrap();
        tasks.into_iter().find(|t| t.task_id == task_id).unwrap()
    }

    pub async fn in_state(&self, run: Uuid, task_id: &str, state: TaskState) {
        until(&format!("{task_id} to be {state}"), || async {
            let tasks = self.store.task_instances(run).await.ok()?;
            tasks.iter().any(|t| t.task_id == task_id && t.state == state).then_some(())
        })
        .await;
    }
}

/// Asks again and again until there is an answer; fails after [`PATIENCE`].
pub async fn until<T, F, Fut>(what: &str, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A DAG of tasks `(name, upstreams)` without a schedule.
pub fn dag(dag_id: &str, tasks: &[(&str, &[&str])]) -> Value {
    let tasks: Vec<Value> = tasks
        .iter()
        .map(|(task_id, upstream)| {
            json!({
                "task_id": task_id, "operator": "BashOperator", "runtime": "bash",
                "upstream": upstream, "retry_delay": 1.0,
                "args": {"bash_command": "true", "env": null, "append_env": false, "cwd": null,
                         "skip_on_exit_code": [99]},
            })
        })
        .collect();
    json!({
        "dag_id": dag_id, "fileloc": format!("{dag_id}.py"), "generation": "2", "tasks": tasks,
    })
}
