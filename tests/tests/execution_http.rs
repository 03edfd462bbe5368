//! A worker's client of the execution API against a real server on a free port: what the one sends,
//! the other understands, and every way to fail is told apart.

use std::sync::Arc;

use prometheus::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tradewind_proto::AttemptId;
use tradewind_proto::clock::{SystemClock, SystemIds};
use tradewind_proto::execution::{
    ClaimItem, ClaimRequest, ClaimVerdict, HeartbeatRequest, LeaseItem, LeaseVerdict, LogChunk,
    LogChunks, VariableQuery, XcomQuery,
};
use tradewind_store::{AdminStore as _, DataStore as _, SqliteStore, Store};
use tradewind_web::{ExecutionOptions, ExecutionService, Token, WebDeps, WebOptions, WebServer};
use tradewind_worker::{ApiError, ExecutionApi as _, HttpExecutionApi};
use uuid::Uuid;

const TOKEN: &str = "round-trip";

struct Server {
    store: Arc<SqliteStore>,
    url: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(prefix: &str) -> Self {
        let store = Arc::new(SqliteStore::in_memory().expect("a database in memory"));
        store.migrate().await.expect("migrations apply");
        let registry = Registry::new();
        let shared = Arc::clone(&store) as Arc<dyn Store>;
        let options = ExecutionOptions { token: Token::new(TOKEN), ..ExecutionOptions::default() };
        let clock = Arc::new(SystemClock);
        let execution =
            ExecutionService::new(options, Arc::clone(&shared), clock.clone(), &registry);
        let deps = WebDeps {
            store: shared,
            broker: None,
            execution: execution.expect("metrics register"),
            clock,
            ids: Arc::new(SystemIds),
            registries: vec![registry],
            queues: Vec::new(),
        };
        let base_url = Some(format!("http://flows.example{prefix}"));
        let options = WebOptions { port: 0, base_url, ..WebOptions::default() };
        let server = WebServer::new(options, deps).expect("valid options");
        let bound = server.bind().await.expect("a free port");
        let url = format!("http://{}{prefix}", bound.local_addr());
        let stop = CancellationToken::new();
        let serving = bound.run(stop.clone());
        let task = tokio::spawn(async move { serving.await.expect("serves") });
        Self { store, url, stop, task }
    }

    fn client(&self, token: &str) -> HttpExecutionApi {
        HttpExecutionApi::new(&self.url, token).expect("a valid URL")
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("ends by itself");
    }
}

fn claim(items: usize) -> ClaimRequest {
    let item = ClaimItem { attempt_id: AttemptId(Uuid::nil()), token: 1, nonce: Uuid::nil() };
    ClaimRequest {
        worker: "celery@here".to_owned(),
        instance: Uuid::nil(),
        hostname: "here".to_owned(),
        items: vec![item; items],
    }
}

#[tokio::test]
async fn every_call_makes_the_round_trip() {
    let server = Server::start("/team").await;
    let api = server.client(TOKEN);

    let reply = api.claim(&claim(2)).await.expect("answers");
    assert!(matches!(reply.verdicts[..], [ClaimVerdict::Stale, ClaimVerdict::Stale]), "unknown");

    let beat = HeartbeatRequest {
        worker: "celery@here".to_owned(),
        instance: Uuid::nil(),
        hostname: "here".to_owned(),
        queues: vec!["default".to_owned()],
        slots: 4,
        attempts: vec![LeaseItem { attempt_id: AttemptId(Uuid::nil()), token: 1 }],
    };
    let reply = api.heartbeat(&beat).await.expect("answers");
    assert_eq!((reply.verdicts, reply.lease_ms), (vec![LeaseVerdict::Stale], 10_000));

    let query = XcomQuery {
        dag_id: "none".to_owned(),
        run_id: "none".to_owned(),
        task_ids: Vec::new(),
        key: "return_value".to_owned(),
        include_prior_dates: false,
    };
    assert!(api.xcom(&query).await.expect("answers").values.is_empty());

    server.store.set_variable("home", "/data").await.expect("sets");
    let reply = api.variable(&VariableQuery { key: "home".to_owned() }).await.expect("answers");
    assert_eq!(reply.value.as_deref(), Some("/data"));

    let chunk = LogChunk {
        attempt_id: AttemptId(Uuid::nil()),
        token: 1,
        seq: 0,
        text: "2026-11-20T08:00:00.000Z stdout x\n".to_owned(),
    };
    api.logs(&LogChunks { chunks: vec![chunk] }).await.expect("taken, and refused by token");
    assert!(api.keys().await.expect("answers").keys.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn failures_are_told_apart() {
    let server = Server::start("").await;
    let error = server.client("wrong").keys().await.expect_err("refused");
    assert!(matches!(error, ApiError::Unauthorized), "{error}");

    let error = server.client(TOKEN).claim(&claim(10_001)).await.expect_err("refused");
    assert!(matches!(&error, ApiError::Refused(text) if text.contains("at most 10000")), "{error}");

    let elsewhere = HttpExecutionApi::new(&format!("{}/elsewhere", server.url), TOKEN);
    let error = elsewhere.expect("a valid URL").keys().await.expect_err("no such path");
    assert!(matches!(error, ApiError::Refused(_)), "not blamed on the token: {error}");

    let api = server.client(TOKEN);
    server.stop().await;
    let error = api.keys().await.expect_err("nobody listens");
    assert!(error.is_retryable(), "{error}");
}
