//! The core on a paused clock with a runtime that only pretends: what a simulator builds on.

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use support::{FakeApi, QUEUE, workload};
use tokio_util::sync::CancellationToken;
use tradewind_broker::results::MemoryResults;
use tradewind_broker::{Broker as _, MemoryBroker, ResultBackend as _};
use tradewind_proto::clock::{SystemClock, SystemIds};
use tradewind_proto::dag::Runtime as Kind;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::sign::{SigningKey, open_outcome};
use tradewind_proto::state::OutcomeState;
use tradewind_proto::{AttemptId, names};
use tradewind_worker::fleet::Tasks;
use tradewind_worker::{AttemptJob, Ended, Runtime, Runtimes, Worker, WorkerDeps};
use uuid::Uuid;

/// Sleeps for the hours named by its argument.
#[derive(Debug)]
struct Pretend;

#[async_trait]
impl Runtime for Pretend {
    async fn run(&self, job: AttemptJob, cancel: CancellationToken) -> Ended {
        let hours = job.grant.task.args["hours"].as_u64().unwrap_or_default();
        if hours == 0 {
            panic!("a bug in a runtime");
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => Ended::cancelled(),
            () = tokio::time::sleep(Duration::from_secs(hours * 3600)) => {
                Ended::new(OutcomeState::Success, "")
            }
        }
    }
}

async fn run(task: Value) -> (OutcomeState, String, u32) {
    let broker = MemoryBroker::new(Arc::new(SystemClock));
    let results = MemoryResults::new();
    let key = SigningKey::from_seed(&[7; 32]).expect("key");
    let api = Arc::new(FakeApi::new(key.public()));
    let deps = WorkerDeps {
        broker: Arc::new(broker.clone()),
        results: Arc::new(results.clone()),
        api: api.clone(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        registry: prometheus::Registry::new(),
        tasks: Tasks::default(),
        coordinator: None,
        client: None,
        runtimes: Runtimes::none().with(Kind::Bash, Arc::new(Pretend)),
    };
    let worker = Worker::new(support::options(), deps).expect("options");
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));
    let id = AttemptId(Uuid::from_u128(5));
    api.offer(id, 5, serde_json::from_value(task).expect("task"));
    let frame = key.seal(&workload(id, "t")).expect("frame");
    let message = TaskMessage::frame(names::TASK_WORKLOAD, id.0, frame);
    broker.publish(QUEUE, message).await.expect("publish");
    let mut inbox = results.open_inbox(names::RESULTS_INBOX).await.expect("inbox");
    let items = inbox.next_batch(1).await.expect("an outcome");
    let outcome = open_outcome(&items[0].body).expect("outcome");
    shutdown.cancel();
    running.await.expect("no panic").expect("no error");
    let beats = api.heartbeats.load(std::sync::atomic::Ordering::SeqCst);
    (outcome.state(), outcome.message, beats)
}

fn pretend(hours: u64) -> Value {
    json!({"task_id": "t", "operator": "X", "runtime": "bash", "args": {"hours": hours}})
}

#[tokio::test(start_paused = true)]
async fn hours_pass_in_no_time_under_heartbeats() {
    let (state, _, beats) = run(pretend(2)).await;
    assert_eq!(state, OutcomeState::Success);
    // One every 100 ms, and one at the start.
    assert!((72_000..72_010).contains(&beats), "{beats}");
}

#[tokio::test(start_paused = true)]
async fn execution_timeouts_hold_for_every_runtime() {
    let mut task = pretend(2);
    task["execution_timeout"] = json!(60.0);
    let (state, message, _) = run(task).await;
    assert_eq!(state, OutcomeState::TimedOut);
    assert!(message.contains("60 s"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_runtime_is_a_failed_attempt() {
    let (state, message, _) = run(pretend(0)).await;
    assert_eq!(state, OutcomeState::Failed);
    assert!(message.contains("a bug in a runtime"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_task_without_a_runtime_here_fails_clearly() {
    let mut task = pretend(1);
    task["runtime"] = json!("python");
    let (state, message, _) = run(task).await;
    assert_eq!(state, OutcomeState::Failed);
    assert!(message.contains("no runtime"), "{message}");
}
