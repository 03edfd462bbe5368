//! A worker on memory drivers with an execution API that can be broken on purpose.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

mod api;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tradewind_broker::results::MemoryResults;
use tradewind_broker::{Broker as _, Inbox, MemoryBroker, ResultBackend as _};
use tradewind_proto::clock::{SystemClock, SystemIds};
use tradewind_proto::dag::TaskSpec;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::sign::{SigningKey, open_outcome};
use tradewind_proto::workload::{Outcome, Workload};
use tradewind_proto::{AttemptId, names};
use tradewind_worker::fleet::Tasks;
use tradewind_worker::{
    DrainReport, Error, Runtimes, Worker, WorkerDeps, WorkerHandle, WorkerOptions,
};
use uuid::Uuid;

pub use api::FakeApi;

pub const QUEUE: &str = "default";
pub const WAIT: Duration = Duration::from_secs(30);

pub struct Rig {
    pub broker: MemoryBroker,
    pub results: MemoryResults,
    pub api: Arc<FakeApi>,
    pub key: SigningKey,
    pub handle: WorkerHandle,
    pub shutdown: CancellationToken,
    pub registry: prometheus::Registry,
    run: JoinHandle<Result<DrainReport, Error>>,
    inbox: Box<dyn Inbox>,
    pub dags: tempfile::TempDir,
}

pub fn options() -> WorkerOptions {
    let python = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../python");
    WorkerOptions {
        queues: vec![QUEUE.to_owned()],
        concurrency: 8,
        python_path: Some(python.canonicalize().expect("python folder")),
        heartbeat_interval_ms: 100,
        kill_grace_ms: 500,
        guard: false,
        ..WorkerOptions::default()
    }
}

impl Rig {
    pub async fn start(change: impl FnOnce(&mut WorkerOptions)) -> Self {
        Self::start_with(change, &Tasks::default(), "").await
    }

    pub async fn with_dag(file: &str) -> Self {
        Self::start_with(|_| {}, &Tasks::default(), file).await
    }

    pub async fn start_with(
        change: impl FnOnce(&mut WorkerOptions),
        tasks: &Tasks,
        dag_file: &str,
    ) -> Self {
        let dags = tempfile::tempdir().expect("folder");
        std::fs::write(dags.path().join("dag.py"), dag_file).expect("dag file");
        let mut options = options();
        options.dags_folder = dags.path().to_owned();
        change(&mut options);
        let clock = Arc::new(SystemClock);
        let broker = MemoryBroker::new(clock.clone());
        let results = MemoryResults::new();
        let key = SigningKey::from_seed(&[7; 32]).expect("key");
        let api = Arc::new(FakeApi::new(key.public()));
        let registry = prometheus::Registry::new();
        let deps = WorkerDeps {
            broker: Arc::new(broker.clone()),
            results: Arc::new(results.clone()),
            api: api.clone(),
            clock,
            ids: Arc::new(SystemIds),
            registry: registry.clone(),
            tasks: tasks.clone(),
            coordinator: None,
            client: None,
            runtimes: Runtimes::real(&options, tasks),
        };
        let worker = Worker::new(options, deps).expect("options");
        let mut handle = worker.handle();
        let shutdown = CancellationToken::new();
        let run = tokio::spawn(worker.run(shutdown.clone()));
        assert!(handle.ready().await, "worker is ready");
        let inbox = results.open_inbox(names::RESULTS_INBOX).await.expect("inbox");
        Self { broker, results, api, key, handle, shutdown, registry, run, inbox, dags }
    }

    /// Makes the attempt claimable and publishes its message.
    pub async fn submit(&self, task: Value) -> AttemptId {
        let (id, message) = self.prepare(task);
        self.broker.publish(QUEUE, message).await.expect("publish");
        id
    }

    pub fn prepare(&self, task: Value) -> (AttemptId, TaskMessage) {
        let task: TaskSpec = serde_json::from_value(task).expect("task");
        let id = AttemptId(Uuid::now_v7());
        let workload = workload(id, &task.task_id);
        self.api.offer(id, workload.token, task);
        (id, self.seal(&workload))
    }

    pub fn seal(&self, workload: &Workload) -> TaskMessage {
        let frame = self.key.seal(workload).expect("frame");
        TaskMessage::frame(names::TASK_WORKLOAD, workload.attempt_id().0, frame)
    }

    /// The next outcome.
    pub async fn outcome(&mut self) -> Outcome {
        let items = tokio::time::timeout(WAIT, self.inbox.next_batch(1)).await;
        let items = items.expect("an outcome in time").expect("inbox");
        let tags: Vec<String> = items.iter().map(|item| item.tag.clone()).collect();
        self.inbox.ack(&tags).await.expect("ack");
        open_outcome(&items[0].body).expect("outcome")
    }

    pub async fn run_one(&mut self, task: Value) -> Outcome {
        let id = self.submit(task).await;
        let outcome = self.outcome().await;
        assert_eq!(outcome.attempt_id(), id);
        outcome
    }

    /// Whether no outcome is waiting, when nothing more can come.
    pub async fn no_outcome(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(1), self.inbox.next_batch(1)).await.is_err()
    }

    pub async fn stop(&mut self) -> DrainReport {
        self.shutdown.cancel();
        let report = tokio::time::timeout(WAIT, &mut self.run).await;
        report.expect("drained in time").expect("no panic").expect("no error")
    }

    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        let labelled = |m: &&prometheus::proto::Metric| {
            label.is_empty() || m.get_label().iter().any(|pair| pair.value() == label)
        };
        metrics
            .iter()
            .filter(labelled)
            .map(|m| m.get_counter().get_value() + m.get_gauge().get_value())
            .sum()
    }
}

pub fn workload(id: AttemptId, task_id: &str) -> Workload {
    Workload {
        attempt: id.0.as_u128(),
        token: 5,
        dag_id: "demo".to_owned(),
        run_id: "manual__1".to_owned(),
        task_id: task_id.to_owned(),
        map_index: -1,
        try_number: 1,
        queue: QUEUE.to_owned(),
        reply_to: names::RESULTS_INBOX.to_owned(),
        trace_parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        queued_at: 0,
    }
}

pub fn bash(command: &str) -> Value {
    bash_with(command, json!({}))
}

pub fn bash_with(command: &str, more: Value) -> Value {
    let mut task = json!({
        "task_id": "t", "operator": "BashOperator", "runtime": "bash",
        "args": {"bash_command": command},
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("args", Value::Object(args)) => {
                for (name, value) in args {
                    task["args"][name] = value.clone();
                }
            }
            _ => task[name] = value.clone(),
        }
    }
    task
}

pub fn python(task_id: &str) -> Value {
    json!({"task_id": task_id, "operator": "PythonOperator", "runtime": "python"})
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + WAIT;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads a process id that a task wrote.
pub async fn pid_in(path: &std::path::Path) -> i32 {
    let read = || std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    until("a task wrote its process id", || read().is_some()).await;
    read().expect("number")
}

pub fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
}
