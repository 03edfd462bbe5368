//! A store with DAGs, runs and attempts in every state, made through the same use cases that the
//! scheduler and the workers call.

#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use prometheus::Registry;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tradewind_broker::Broker;
use tradewind_engine::model::{Changes, TaskChange, TaskInstance};
use tradewind_proto::clock::{Clock, SystemIds, to_micros};
use tradewind_proto::dag::{DagSpec, ImportError};
use tradewind_proto::execution::{ClaimItem, ClaimRequest, ClaimVerdict, Grant};
use tradewind_proto::state::{OutcomeState, RunState, RunType, TaskState};
use tradewind_proto::workload::{Outcome, OutcomeHead, Xcom};
use tradewind_proto::{AttemptId, Ids as _, Timestamp};
use tradewind_store::model::{
    Committed, Dispatch, FileSync, JobRow, NewRun, NewTask, Queueing, RunCommit, StartRun,
};
use tradewind_store::{
    AdminStore as _, DagStore as _, PlanStore as _, RunStore as _, SqliteStore, Store,
};
use tradewind_web::{ExecutionOptions, ExecutionService, Token, WebDeps, WebOptions, WebServer};
use uuid::Uuid;

pub(crate) const TOKEN: &str = "a-test-token";

#[derive(Debug)]
pub(crate) struct HandClock(Mutex<Timestamp>);

impl HandClock {
    pub(crate) fn advance(&self, ms: i64) {
        let mut at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *at += jiff::SignedDuration::from_millis(ms);
    }

    pub(crate) fn set(&self, to: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) registry: Registry,
    pub(crate) execution: ExecutionService,
}

impl World {
    pub(crate) async fn new() -> Self {
        let store = Arc::new(SqliteStore::in_memory_inline().expect("a database in memory"));
        store.migrate().await.expect("migrations apply");
        let start = "2026-11-20T08:00:00Z".parse().expect("a time");
        let clock = Arc::new(HandClock(Mutex::new(start)));
        let registry = Registry::new();
        let options = ExecutionOptions { token: Token::new(TOKEN), ..ExecutionOptions::default() };
        let execution = ExecutionService::new(
            options,
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            &registry,
        );
        Self { store, clock, registry, execution: execution.expect("metrics register") }
    }

    pub(crate) fn deps(&self) -> WebDeps {
        WebDeps {
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            broker: None,
            execution: self.execution.clone(),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            ids: Arc::new(SystemIds),
            registries: vec![self.registry.clone()],
            queues: vec!["default".to_owned()],
        }
    }

    pub(crate) fn server(&self, options: WebOptions, broker: Option<Arc<dyn Broker>>) -> WebServer {
        WebServer::new(options, WebDeps { broker, ..self.deps() }).expect("valid options")
    }

    pub(crate) fn router(&self) -> Router {
        self.server(WebOptions::default(), None).router()
    }

    /// Stores the DAGs of one file, unpaused.
    pub(crate) async fn sync(&self, fileloc: &str, dags: &[Value]) {
        let dags = dags.iter().map(|dag| spec(fileloc, dag)).collect();
        let sync =
            FileSync { fileloc: fileloc.to_owned(), dags, error: None, paused_by_default: false };
        self.store.sync_file(sync, self.clock.now()).await.expect("syncs");
    }

    /// Stores an import error.
    pub(crate) async fn broken(&self, fileloc: &str, error: ImportError) {
        let sync = FileSync {
            fileloc: fileloc.to_owned(),
            dags: Vec::new(),
            error: Some(error),
            paused_by_default: false,
        };
        self.store.sync_file(sync, self.clock.now()).await.expect("syncs");
    }

    /// A live scheduler.
    pub(crate) async fn scheduler(&self) {
        let now = self.clock.now();
        let job = JobRow {
            id: Uuid::from_u128(1),
            job_type: "SchedulerJob".to_owned(),
            hostname: "box".to_owned(),
            ended: false,
            started_at: now,
            heartbeat_at: now,
        };
        self.store.job_heartbeat(&job).await.expect("records");
    }

    /// Creates a run, queued.
    pub(crate) async fn trigger(&self, dag_id: &str, run_id: &str, conf: Value) -> Uuid {
        let now = self.clock.now();
        let run = NewRun {
            id: SystemIds.next(),
            dag_id: dag_id.to_owned(),
            run_id: run_id.to_owned(),
            run_type: RunType::Manual,
            logical_date: Some(now),
            interval: Some((now - jiff::SignedDuration::from_hours(1), now)),
            run_after: now,
            conf: conf.as_object().cloned().unwrap_or_default(),
            trace_parent: String::new(),
        };
        self.store.trigger(run, now).await.expect("triggers").id
    }

    /// Creates a run and starts it.
    pub(crate) async fn start(&self, dag_id: &str, run_id: &str, conf: Value) -> Uuid {
        let run = self.trigger(dag_id, run_id, conf).await;
        let dag = self.store.dag(dag_id).await.expect("reads").expect("the DAG");
        let tasks = dag.spec.tasks.iter().map(|task| NewTask {
            task_id: task.task_id.clone(),
            map_index: -1,
            operator: task.operator.clone(),
            queue: task.queue.clone(),
            pool: task.pool.clone(),
            pool_slots: 1,
            priority: 1,
            max_tries: task.retries,
        });
        let start = StartRun {
            run,
            version_hash: dag.version_hash.clone(),
            max_active_runs: 100,
            trace_parent: String::new(),
            tasks: tasks.collect(),
        };
        let started = self.store.start_runs(vec![start], self.clock.now()).await.expect("starts");
        assert_eq!(started, [true]);
        run
    }

    async fn commit(
        &self,
        run: Uuid,
        finished: Vec<Outcome>,
        run_state: Option<(RunState, &'static str)>,
        change: impl Fn(&TaskInstance) -> Option<TaskInstance>,
    ) -> Vec<Dispatch> {
        let snapshot = self.store.load_run(run).await.expect("loads").expect("the run");
        let tasks = snapshot.tasks.iter().filter_map(change);
        let tasks = tasks.map(|task| TaskChange { task, priority: 1 }).collect();
        let commit = RunCommit {
            run,
            expected_version: snapshot.run.version,
            finished,
            changes: Changes { tasks, run_state, cancel: Vec::new() },
        };
        let queueing = Queueing { parallelism: None, default_pool_slots: 128, max: 100 };
        let now = self.clock.now();
        let report = self.store.commit(vec![commit], &queueing, now).await.expect("commits");
        assert!(matches!(report.results[..], [Committed::Done { .. }]), "{report:?}");
        report.dispatch
    }

    /// Queues a task, as the planner would.
    pub(crate) async fn queue(&self, run: Uuid, task_id: &str) -> Dispatch {
        let queued = self.commit(run, Vec::new(), None, |task| {
            (task.task_id == task_id).then(|| TaskInstance {
                state: TaskState::Scheduled,
                try_number: task.try_number + 1,
                token: task.token + 1,
                attempt_id: Some(AttemptId(SystemIds.next())),
                ..task.clone()
            })
        });
        let queued = queued.await;
        queued.into_iter().find(|d| d.task_id == task_id).expect("queued at once")
    }

    /// Claims an attempt as a worker would.
    pub(crate) async fn claim(&self, dispatch: &Dispatch) -> Grant {
        let reply = self.execution.claim(&claim_request(dispatch)).await.expect("claims");
        match reply.verdicts.into_iter().next() {
            Some(ClaimVerdict::Granted(grant)) => *grant,
            other => panic!("not granted: {other:?}"),
        }
    }

    /// Ends an attempt.
    pub(crate) async fn finish(&self, dispatch: &Dispatch, state: TaskState, message: &str) {
        let now = self.clock.now();
        let end = match state {
            TaskState::Success => OutcomeState::Success,
            TaskState::Skipped => OutcomeState::Skipped,
            _ => OutcomeState::Failed,
        };
        let started = self.start_of(dispatch).await.unwrap_or(now);
        let mut outcome = Outcome::new(head(dispatch), end, started, now);
        message.clone_into(&mut outcome.message);
        outcome.pid = 4711;
        if end == OutcomeState::Success {
            outcome.xcoms =
                vec![Xcom { key: "return_value".to_owned(), json: json!({"rows": 3}).to_string() }];
        }
        self.commit(dispatch.run, vec![outcome], None, |task| {
            (task.task_id == dispatch.task_id).then(|| TaskInstance {
                state,
                start_date: Some(started),
                end_date: Some(now),
                not_before: (state == TaskState::UpForRetry)
                    .then(|| now + jiff::SignedDuration::from_mins(5)),
                ..task.clone()
            })
        })
        .await;
    }

    async fn start_of(&self, dispatch: &Dispatch) -> Option<Timestamp> {
        let tasks = self.store.task_instances(dispatch.run).await.expect("reads");
        tasks.into_iter().find(|t| t.task_id == dispatch.task_id)?.start_date
    }

    /// Sets a task's state without an attempt.
    pub(crate) async fn mark(&self, run: Uuid, task_id: &str, state: TaskState) {
        let change = |task: &TaskInstance| {
            (task.task_id == task_id).then(|| TaskInstance { state, ..task.clone() })
        };
        self.commit(run, Vec::new(), None, change).await;
    }

    /// Ends a run.
    pub(crate) async fn end_run(&self, run: Uuid, state: RunState) {
        self.commit(run, Vec::new(), Some((state, "success")), |_| None).await;
    }
}

pub(crate) fn claim_request(dispatch: &Dispatch) -> ClaimRequest {
    ClaimRequest {
        worker: "celery@box".to_owned(),
        instance: Uuid::from_u128(7),
        hostname: "box".to_owned(),
        items: vec![ClaimItem {
            attempt_id: dispatch.attempt_id,
            token: dispatch.token,
            nonce: Uuid::from_u128(dispatch.attempt_id.0.as_u128() ^ 1),
        }],
    }
}

fn head(dispatch: &Dispatch) -> OutcomeHead {
    OutcomeHead {
        attempt_id: dispatch.attempt_id,
        token: dispatch.token,
        run: dispatch.run,
        task_id: dispatch.task_id.clone(),
        map_index: dispatch.map_index,
        worker: "celery@box".to_owned(),
    }
}

/// A DAG from its JSON, with the members that every DAG must have filled in.
pub(crate) fn spec(fileloc: &str, dag: &Value) -> DagSpec {
    let mut whole = json!({"fileloc": fileloc, "generation": "2", "source_hash": "ab12"});
    if let (Some(whole), Some(dag)) = (whole.as_object_mut(), dag.as_object()) {
        whole.extend(dag.clone());
    }
    serde_json::from_value(whole).expect("a valid DAG")
}

/// A bash task.
pub(crate) fn task(task_id: &str, upstream: &[&str]) -> Value {
    json!({"task_id": task_id, "operator": "BashOperator", "runtime": "bash", "upstream": upstream,
           "retries": 1, "args": {"bash_command": "echo hi"}})
}

pub(crate) fn micros(at: Timestamp) -> i64 {
    to_micros(at)
}

/// One request to a router, as a browser or client on this machine would send it.
pub(crate) async fn send(
    router: &Router,
    request: Request<Body>,
) -> (StatusCode, Response<()>, String) {
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 64 << 20).await.expect("a body");
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (parts.status, Response::from_parts(parts, ()), text)
}

pub(crate) async fn get(router: &Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).header("host", "localhost:8080").body(Body::empty());
    let (status, _, text) = send(router, request.expect("a request")).await;
    (status, text)
}

/// A form sent from our own page.
pub(crate) async fn post_form(
    router: &Router,
    path: &str,
    form: &str,
) -> (StatusCode, Response<()>) {
    let request = Request::post(path)
        .header("host", "localhost:8080")
        .header("origin", "http://localhost:8080")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()));
    let (status, response, _) = send(router, request.expect("a request")).await;
    (status, response)
}

/// A call of the execution API.
pub(crate) async fn call(
    router: &Router,
    route: &str,
    token: &str,
    body: &Value,
) -> (StatusCode, Value) {
    let request = Request::post(format!("/execution/v1/{route}"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()));
    let (status, _, text) = send(router, request.expect("a request")).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}
