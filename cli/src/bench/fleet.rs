//! What the fleet's benches share: messages, a worker in this process, waiting for an empty queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tradewind_broker::{Broker, Outgoing, ResultBackend};
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names::TASK_NOOP;
use tradewind_worker::fleet::Tasks;
use tradewind_worker::{HttpExecutionApi, Runtimes, Worker, WorkerDeps};

use crate::context::Context;
use crate::failure::Failure;
use crate::roles::options;

/// Messages published per call.
const BATCH: usize = 512;
/// How often the queue is looked at; small beside the seconds that are measured.
const INTERVAL: Duration = Duration::from_millis(10);
/// A queue that nothing leaves for so long has a worker that hangs.
const STUCK: Duration = Duration::from_secs(60);

/// A queue of its own for a bench.
pub(crate) fn queue_name(context: &Context) -> String {
    format!("tradewind-bench-{}", context.ids.next().simple())
}

/// Publishes so many messages of a task; the time that it took.
pub(crate) async fn publish(
    context: &Context,
    broker: &dyn Broker,
    queue: &str,
    message: &TaskMessage,
    count: usize,
) -> Result<Duration, Failure> {
    broker.declare(&[queue.to_owned()]).await?;
    let start = Instant::now();
    for first in (0..count).step_by(BATCH) {
        let batch = (first..count.min(first + BATCH)).map(|_| {
            let mut message = message.clone();
            let id = context.ids.next().to_string();
            message.set_header("id", id.as_str());
            message.set_header("root_id", id.as_str());
            message.correlation_id = id;
            Outgoing { queue: queue.to_owned(), message }
        });
        for result in broker.publish_many(batch.collect()).await {
            result?;
        }
    }
    Ok(start.elapsed())
}

/// A message of the no-op, whose result goes where this process can read it.
pub(crate) fn noop(context: &Context, results: &dyn ResultBackend) -> TaskMessage {
    let mut message = TaskMessage::json(TASK_NOOP, context.ids.next(), &json!([]), &json!({}));
    message.reply_to = results.reply_to().map(str::to_owned);
    message
}

/// A worker in this process.
#[derive(Debug)]
pub(crate) struct LocalWorker {
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), Failure>>,
}

impl LocalWorker {
    /// Starts it; returns when it consumes.
    pub(crate) async fn start(
        context: &Context,
        broker: Arc<dyn Broker>,
        queue: &str,
        concurrency: u32,
        tasks: Tasks,
    ) -> Result<Self, Failure> {
        let mut worker_options = options::worker(context)?;
        worker_options.queues = vec![queue.to_owned()];
        worker_options.concurrency = u16::try_from(concurrency).unwrap_or(u16::MAX);
        let api = HttpExecutionApi::new(context.config.text("execution", "api_url"), "unused")
            .map_err(|error| Failure::usage(error.to_string()))?;
        let deps = WorkerDeps {
            broker,
            results: context.results().await?,
            api: Arc::new(api),
            clock: Arc::clone(&context.clock),
            ids: Arc::clone(&context.ids),
            registry: prometheus::Registry::new(),
            runtimes: Runtimes::none(),
            tasks,
            coordinator: Some(context.coordinator().await?),
            client: None,
        };
        let worker =
            Worker::new(worker_options, deps).map_err(|error| Failure::usage(error.to_string()))?;
        let mut handle = worker.handle();
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let running = tokio::spawn(async move {
            let report = worker.run(token).await;
            report.map(|_| ()).map_err(|error| Failure::new(error.to_string()))
        });
        if !handle.ready().await {
            running.await.map_err(|error| Failure::new(error.to_string()))??;
            return Err(Failure::new("the worker ended before it consumed"));
        }
        Ok(Self { shutdown, running })
    }

    /// Stops it: returns when every taken message has its result stored and is acked.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.shutdown.cancel();
        self.running.await.map_err(|error| Failure::new(error.to_string()))?
    }
}

/// Waits until nothing is left in a queue, delivered or not.
pub(crate) async fn drained(broker: &dyn Broker, queue: &str) -> Result<(), Failure> {
    let mut left = u64::MAX;
    let mut changed = Instant::now();
    loop {
        let stats = broker.stats(queue).await?;
        let now = stats.ready + stats.unacked;
        if now == 0 {
            return Ok(());
        }
        if now != left {
            (left, changed) = (now, Instant::now());
        } else if changed.elapsed() > STUCK {
            return Err(Failure::new(format!(
                "{now} messages of {queue} have not moved for {} s; is the worker stuck?",
                STUCK.as_secs()
            )));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
