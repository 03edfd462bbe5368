//! `bench drain`: no-op messages per second through a worker with results on, beside a bare client
//! loop on the same broker in the same run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_util::sync::CancellationToken;
use tradewind_broker::{Broker, Outgoing, bare};
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names::TASK_NOOP;
use tradewind_worker::{Handlers, HttpExecutionApi, Runtimes, Worker, WorkerDeps};

use crate::args::DrainArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::roles::options;

/// Messages published per call.
const BATCH: usize = 512;
/// How often the queue is looked at; small beside the seconds that are measured.
const INTERVAL: Duration = Duration::from_millis(10);

pub(crate) async fn run(context: &Context, args: &DrainArgs) -> Result<(), Failure> {
    let broker = context.broker().await?;
    let queue = format!("tradewind-bench-{}", context.ids.next().simple());
    let count = args.messages as usize;
    println!(
        "bench drain: {count} no-op messages on {}, results in {}, {} slots",
        broker.kind(),
        context.config.results_url().split("://").next().unwrap_or_default(),
        args.concurrency
    );
    let published = publish(context, broker.as_ref(), &queue, count).await?;
    println!("publish: {:.0} messages/s", count as f64 / published.as_secs_f64());
    let drained = drain(context, args, Arc::clone(&broker), &queue).await?;
    let ours = count as f64 / drained.as_secs_f64();
    println!("drain (take, run, store result, ack): {ours:.0} messages/s");
    match bare::drain(context.config.text("broker", "url"), &format!("{queue}-bare"), count).await {
        Ok(elapsed) => {
            let bare = count as f64 / elapsed.as_secs_f64();
            println!(
                "bare client loop (take and ack in batches of 64, no results): {bare:.0} messages/s"
            );
            println!("ratio: {:.2} of the bare loop", ours / bare);
        }
        Err(tradewind_broker::Error::Config(reason)) => println!("bare client loop: {reason}"),
        Err(error) => return Err(error.into()),
    }
    broker.purge(&queue).await?;
    Ok(())
}

async fn publish(
    context: &Context,
    broker: &dyn Broker,
    queue: &str,
    count: usize,
) -> Result<Duration, Failure> {
    broker.declare(&[queue.to_owned()]).await?;
    let start = Instant::now();
    for first in (0..count).step_by(BATCH) {
        let batch = (first..count.min(first + BATCH)).map(|_| Outgoing {
            queue: queue.to_owned(),
            message: TaskMessage::json(TASK_NOOP, context.ids.next(), &json!([]), &json!({})),
        });
        for result in broker.publish_many(batch.collect()).await {
            result?;
        }
    }
    Ok(start.elapsed())
}

async fn drain(
    context: &Context,
    args: &DrainArgs,
    broker: Arc<dyn Broker>,
    queue: &str,
) -> Result<Duration, Failure> {
    let mut worker_options = options::worker(context)?;
    worker_options.queues = vec![queue.to_owned()];
    worker_options.concurrency = u16::try_from(args.concurrency).unwrap_or(u16::MAX);
    let api = HttpExecutionApi::new(context.config.text("execution", "api_url"), "unused")
        .map_err(|error| Failure::usage(error.to_string()))?;
    let deps = WorkerDeps {
        broker: Arc::clone(&broker),
        results: context.results().await?,
        api: Arc::new(api),
        clock: Arc::clone(&context.clock),
        ids: Arc::clone(&context.ids),
        registry: prometheus::Registry::new(),
        runtimes: Runtimes::none(),
        handlers: Handlers::default(),
    };
    let worker =
        Worker::new(worker_options, deps).map_err(|error| Failure::usage(error.to_string()))?;
    let shutdown = CancellationToken::new();
    let start = Instant::now();
    let running = tokio::spawn(worker.run(shutdown.clone()));
    loop {
        let stats = broker.stats(queue).await?;
        if stats.ready == 0 && stats.unacked == 0 {
            break;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    // Draining ends when every taken message has its result stored and is acked.
    shutdown.cancel();
    let report = running.await.map_err(|error| Failure::new(error.to_string()))?;
    report.map_err(|error| Failure::new(error.to_string()))?;
    Ok(start.elapsed())
}
