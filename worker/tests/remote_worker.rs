//! A whole worker with external tasks under remote control: what is seen of a running task, how it is ended,
//! and what is left of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use tradewind_broker::coordination::MemoryCoordinator;
use tradewind_broker::{ControlBus, EventStream, MemoryBus};
use tradewind_proto::celery::{ControlRequest, Event, Signature};
use tradewind_proto::clock::{SystemClock, SystemIds};
use tradewind_worker::external::{ExternalEnv, ExternalOptions, ExternalTasks};
use tradewind_worker::fleet::Tasks;
use tradewind_worker::fleet::testing::LocalWorker;
use tradewind_worker::remote::{Remote, RemoteDeps, RemoteOptions};

/// Generous: CI machines are busy.
const PATIENCE: Duration = Duration::from_secs(60);
const NODE: &str = "celery@one";

/// Writes its own process id and that of a daemon that left its group and session, and naps.
const NAP: &str = "setsid sleep 600 & echo $! >> $0; echo $$ >> $0; sleep 600";

struct Stage {
    worker: LocalWorker,
    bus: MemoryBus,
    stop: CancellationToken,
    remote: tokio::task::JoinHandle<()>,
}

impl Stage {
    async fn start(table: Value) -> Self {
        let table: BTreeMap<String, ExternalOptions> =
            serde_json::from_value(table).expect("table");
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace");
        let env = ExternalEnv {
            ids: Arc::new(SystemIds),
            python: PathBuf::from("python3"),
            python_path: Some(workspace.join("python")),
            guard: false,
            guard_program: None,
        };
        let mut tasks = Tasks::default();
        ExternalTasks::new(table, &env).expect("tasks").register(&mut tasks);
        let start = LocalWorker::start_with(tasks.clone(), |builder| builder.name(NODE)).await;
        let worker = start.expect("a worker");
        let clock = Arc::new(SystemClock);
        let bus = MemoryBus::new(clock.clone());
        let deps = RemoteDeps {
            node: NODE.to_owned(),
            bus: Arc::new(bus.clone()),
            state: Arc::clone(&worker.state),
            tasks,
            coordinator: Some(Arc::new(MemoryCoordinator::new())),
            broker: Arc::new(worker.broker.clone()),
            conf: json!({}),
            broker_info: json!({}),
            clock,
        };
        let options = RemoteOptions { events: true, ..RemoteOptions::default() };
        let remote = Remote::new(options, deps).expect("options");
        let stop = CancellationToken::new();
        let remote = tokio::spawn(remote.run(stop.clone()));
        Self { worker, bus, stop, remote }
    }

    async fn ask(&self, method: &str, arguments: Value) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let arguments: Map<String, Value> = serde_json::from_value(arguments).expect("arguments");
        loop {
            let request = ControlRequest {
                method: method.to_owned(),
                arguments: arguments.clone(),
                ..ControlRequest::default()
            };
            let replies =
                self.bus.ask(request, Duration::from_secs(5), Some(1)).await.expect("asked");
            if let Some(reply) = replies.into_iter().next() {
                return reply.value;
            }
            assert!(Instant::now() < deadline, "no answer to {method}");
        }
    }

    async fn end(self) {
        self.worker.stop().await.expect("drains");
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.remote).await.expect("ends").expect("no panic");
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim().starts_with('Z'))
}

fn pids(file: &Path) -> Vec<i32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

async fn next_event(stream: &mut Box<dyn EventStream>, kind: &str) -> Event {
    let search = async {
        loop {
            let events = stream.next().await.expect("events");
            if let Some(found) = events.into_iter().find(|event| event.kind() == kind) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("no {kind}"))
}

#[tokio::test]
async fn a_running_command_is_seen_and_terminated_with_its_tree() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("pids");
    let stage = Stage::start(json!({"nap": {"command": ["sh", "-c", NAP, "{0}"]}})).await;
    let mut events = stage.bus.subscribe_events().await.expect("subscribed");
    let id = stage.worker.send(Signature::new("nap").arg(json!(file))).await.expect("sent");
    until("it naps", || pids(&file).len() == 2).await;
    assert!(pids(&file).iter().all(|pid| is_alive(*pid)));
    let active = stage.ask("active", json!({})).await;
    assert_eq!((&active[0]["id"], &active[0]["name"]), (&json!(id), &json!("nap")));
    assert_eq!(stage.ask("query_task", json!({"ids": [id]})).await[&id][0], "active");
    let said =
        stage.ask("revoke", json!({"task_id": id, "terminate": true, "signal": "SIGKILL"})).await;
    assert_eq!(said, json!({"ok": format!("terminate: {id}")}));
    let meta = stage.worker.result(&id).await.expect("a result");
    assert_eq!(meta.status, "REVOKED");
    until("the tree is gone", || !pids(&file).iter().any(|pid| is_alive(*pid))).await;
    let revoked = next_event(&mut events, "task-revoked").await;
    assert_eq!((revoked.text("uuid"), &revoked.0["terminated"]), (Some(id.as_str()), &json!(true)));
    assert_eq!(stage.ask("revoked", json!({})).await, json!([id]));
    stage.end().await;
}

#[tokio::test]
async fn time_limits_end_commands_and_their_trees() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("pids");
    let trap = "trap 'echo \"\\\"cleaned\\\"\"; exit 0' TERM; while :; do sleep 0.05; done";
    let stage = Stage::start(json!({
        "hard": {"command": ["sh", "-c", NAP, "{0}"], "time_limit": 1},
        "soft": {"command": ["sh", "-c", trap], "soft_time_limit": 1, "time_limit": 60},
    }))
    .await;
    let meta = stage.worker.run(Signature::new("hard").arg(json!(file))).await.expect("ends");
    let raised = meta.exception().expect("an exception");
    assert_eq!((meta.status.as_str(), raised.exc_type.as_str()), ("FAILURE", "TimeLimitExceeded"));
    until("the tree is gone", || !pids(&file).iter().any(|pid| is_alive(*pid))).await;
    let meta = stage.worker.run(Signature::new("soft")).await.expect("ends");
    assert_eq!((meta.status.as_str(), &meta.result), ("SUCCESS", &json!("cleaned")));
    stage.end().await;
}

#[tokio::test]
async fn results_failures_and_retries_of_external_tasks_are_celerys() {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(
        folder.path().join("own.py"),
        "def add(a, b):\n    return a + b\n\ndef bad():\n    raise KeyError('x')\n",
    )
    .expect("module");
    let counter = folder.path().join("count");
    let flaky = "echo x >> $0; test $(wc -l < $0) -ge 3 && echo '{{\"tries\": 3}}'";
    let stage = Stage::start(json!({
        "add": {"python": "own:add", "cwd": folder.path()},
        "bad": {"python": "own:bad", "cwd": folder.path()},
        "flaky": {"command": ["sh", "-c", flaky, "{file}"], "retries": 5, "retry_delay": 0.01},
    }))
    .await;
    let mut events = stage.bus.subscribe_events().await.expect("subscribed");
    let meta = stage.worker.run(Signature::new("add").arg(2).kwarg("b", 3)).await.expect("ends");
    assert_eq!((meta.status.as_str(), &meta.result), ("SUCCESS", &json!(5)));
    let done = next_event(&mut events, "task-succeeded").await;
    assert_eq!(done.text("result"), Some("5"));
    let meta = stage.worker.run(Signature::new("bad")).await.expect("ends");
    let raised = meta.exception().expect("an exception");
    assert_eq!((raised.exc_type.as_str(), meta.status.as_str()), ("KeyError", "FAILURE"));
    assert!(
        meta.traceback.as_deref().is_some_and(|text| text.contains("own.py")),
        "{:?}",
        meta.traceback
    );
    let failed = next_event(&mut events, "task-failed").await;
    assert_eq!(failed.text("exception"), Some("KeyError('x')"));
    let meta = stage
        .worker
        .run(Signature::new("flaky").kwarg("file", json!(counter)))
        .await
        .expect("ends");
    assert_eq!((meta.status.as_str(), &meta.result), ("SUCCESS", &json!({"tries": 3})));
    stage.end().await;
}
