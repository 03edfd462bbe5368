//! Helpers for tests of services: run one task inline, or a whole worker in this process.

use std::sync::Arc;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use serde_json::{Map, Value};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tradewind_broker::{Broker, MemoryBroker, MemoryResults, ResultBackend};
use tradewind_proto::Timestamp;
use tradewind_proto::celery::canvas::{Applied, plan};
use tradewind_proto::celery::{Meta, Request, Signature};
use tradewind_proto::clock::{Clock as _, SystemClock};
use uuid::Uuid;

use super::context::{Context, Services};
use super::error::{Failure, TaskError};
use super::registry::{Outcome, Tasks, panic_text};
use super::state::{FleetState, Seen};
use super::stop::Stop;
use super::worker::{FleetWorker, FleetWorkerBuilder};
use crate::{DrainReport, Error};

/// The queue of a [`LocalWorker`].
pub const QUEUE: &str = "celery";
/// Results that do not come within this time are a failed test.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Runs one task of a registry here and now: no queue, no retries, nothing stored. A panic becomes a
/// failure.
///
/// # Errors
/// What the handler returns, and `NotRegistered`.
pub async fn run_inline(tasks: &Tasks, task: &str, args: &[Value], kwargs: &Value) -> Outcome {
    let mut request = Request::new(task, Uuid::new_v4().to_string());
    request.args = args.to_vec();
    request.kwargs = kwargs.as_object().cloned().unwrap_or_else(Map::new);
    run_alone(tasks, request, "test").await
}

/// Runs a request without a worker.
pub(crate) async fn run_alone(tasks: &Tasks, request: Request, worker: &str) -> Outcome {
    let Some(task) = tasks.get(&request.task) else {
        let failure = Failure::new("NotRegistered", request.task.clone());
        return Err(TaskError::Fail(failure.module("celery.exceptions")));
    };
    let name = request.task.clone();
    let received = Timestamp::UNIX_EPOCH;
    let seen = Seen { request, queue: QUEUE.into(), redelivered: false, received };
    let services = Services::alone(worker, tasks.clone());
    let context = Context::new(Arc::new(seen), Stop::default(), None, services);
    match AssertUnwindSafe(async { task.call(context).await }).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = format!("handler {name} panicked: {}", panic_text(&panic));
            Err(TaskError::Fail(Failure::new("Panic", text).module("tradewind")))
        }
    }
}

/// Sends a task or a canvas as a client does; returns the id of its result. `queue` is for what names none.
///
/// # Errors
/// When the canvas makes no sense or a queue refuses it.
pub async fn send(
    broker: &dyn Broker,
    results: &dyn ResultBackend,
    queue: &str,
    signature: Signature,
) -> Result<String, TaskError> {
    let applied = Applied::by_client(SystemClock.now());
    let planned = plan(signature, &applied, &mut || Uuid::now_v7().to_string());
    let planned = planned.map_err(TaskError::failed)?;
    for (group, size) in &planned.joins {
        results.begin_join(group, *size, WAIT_MAX).await?;
    }
    for one in planned.sends {
        let queue = one.queue.as_deref().unwrap_or(queue);
        broker.publish(queue, one.request.to_message()).await?;
    }
    Ok(planned.result.id)
}

/// A whole worker in this process, on memory.
#[derive(Debug)]
pub struct LocalWorker {
    /// Its queues.
    pub broker: MemoryBroker,
    /// Its results.
    pub results: MemoryResults,
    /// What it does.
    pub state: Arc<FleetState>,
    shutdown: CancellationToken,
    hurry: CancellationToken,
    running: JoinHandle<Result<DrainReport, Error>>,
}

impl LocalWorker {
    /// Starts a worker with these tasks that consumes [`QUEUE`]; returns when it takes messages.
    ///
    /// # Errors
    /// When the worker does not start.
    pub async fn start(tasks: Tasks) -> Result<Self, Error> {
        Self::start_with(tasks, |builder| builder).await
    }

    /// As [`LocalWorker::start`], with other settings.
    ///
    /// # Errors
    /// When the worker does not start.
    pub async fn start_with(
        tasks: Tasks,
        change: impl FnOnce(FleetWorkerBuilder) -> FleetWorkerBuilder,
    ) -> Result<Self, Error> {
        let broker = MemoryBroker::new(Arc::new(SystemClock));
        let results = MemoryResults::new();
        let builder = FleetWorker::builder(Arc::new(broker.clone()), Arc::new(results.clone()));
        let worker = change(builder.tasks(tasks).queues([QUEUE])).build()?;
        let (state, hurry, mut ready) = (worker.state(), worker.hurry(), worker.ready());
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(worker.run(shutdown.clone()));
        // An error means that it has ended; the stop says why.
        let _ended = ready.wait_for(|ready| *ready).await;
        Ok(Self { broker, results, state, shutdown, hurry, running })
    }

    /// Sends a task or a canvas; returns the id of its result.
    ///
    /// # Errors
    /// When the canvas makes no sense or a queue refuses it.
    pub async fn send(&self, signature: Signature) -> Result<String, TaskError> {
        send(&self.broker, &self.results, QUEUE, signature).await
    }

    /// Waits for the result of a task.
    ///
    /// # Errors
    /// When there is none within a minute.
    pub async fn result(&self, id: &str) -> Result<Meta, TaskError> {
        let stored = self.results.wait(id, WAIT_MAX).await?;
        let stored = stored.ok_or_else(|| TaskError::failed(format!("no result of task {id}")))?;
        Meta::from_bytes(&stored.meta).map_err(TaskError::failed)
    }

    /// Sends, and waits for the result.
    ///
    /// # Errors
    /// As [`LocalWorker::send`] and [`LocalWorker::result`].
    pub async fn run(&self, signature: Signature) -> Result<Meta, TaskError> {
        let id = self.send(signature).await?;
        self.result(&id).await
    }

    /// Begins a drain and does not wait for it.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Drains without grace: a second signal.
    pub fn hurry(&self) {
        self.hurry.cancel();
    }

    /// Drains and says how it went.
    ///
    /// # Errors
    /// When the worker could not start or panicked.
    pub async fn stop(self) -> Result<DrainReport, TaskError> {
        self.shutdown.cancel();
        Ok(self.running.await??)
    }
}
