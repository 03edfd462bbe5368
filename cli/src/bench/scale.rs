//! `bench scale`: tasks that only wait, through 1, 2, 4 and 8 worker processes; the share of the
//! ideal that each reaches.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tradewind_broker::Broker;
use tradewind_proto::message::TaskMessage;
use tradewind_worker::fleet::Tasks;

use super::fleet::{self, LocalWorker};
use super::{Report, rounded};
use crate::args::{BenchWorkerArgs, ScaleArgs};
use crate::context::Context;
use crate::failure::Failure;
use crate::roles::signals;

/// The task that waits; known to workers of this bench only.
const TASK_WAIT: &str = "tradewind.bench.wait";
/// What such a worker prints when it consumes.
const READY: &str = "ready";
/// How long one may take to start.
const READY_WITHIN: Duration = Duration::from_secs(30);

pub(crate) async fn run(context: &Context, args: &ScaleArgs) -> Result<(), Failure> {
    let mut report = Report::new(args.output.format());
    let broker = context.broker().await?;
    report.line(&format!(
        "bench scale: tasks of {} ms, {} at once per worker process, on {}",
        args.wait,
        args.concurrency,
        broker.kind()
    ));
    for workers in &args.workers {
        let rate = measure(context, args, broker.as_ref(), *workers).await?;
        let ideal =
            f64::from(*workers) * f64::from(args.concurrency) * 1000.0 / f64::from(args.wait);
        let share = 100.0 * rate / ideal;
        report.add(
            &format!("workers_{workers}_per_second"),
            rounded(rate),
            &format!("{workers} worker processes: {rate:.0} tasks/s, {share:.1} % of ideal"),
        );
        report.add_quietly(&format!("workers_{workers}_percent_of_ideal"), rounded(share));
    }
    report.end();
    Ok(())
}

async fn measure(
    context: &Context,
    args: &ScaleArgs,
    broker: &dyn Broker,
    workers: u32,
) -> Result<f64, Failure> {
    let queue = fleet::queue_name(context);
    broker.declare(std::slice::from_ref(&queue)).await?;
    let mut running = Vec::new();
    for _ in 0..workers {
        running.push(spawn(context, args, &queue)?);
    }
    for worker in &mut running {
        match tokio::time::timeout(READY_WITHIN, ready(worker)).await {
            Ok(result) => result?,
            Err(_) => return Err(Failure::new("a worker process was not ready in time")),
        }
    }
    let count = (args.tasks * workers) as usize;
    let message = TaskMessage::json(TASK_WAIT, context.ids.next(), &json!([]), &json!({}));
    let start = Instant::now();
    fleet::publish(context, broker, &queue, &message, count).await?;
    fleet::drained(broker, &queue).await?;
    let rate = count as f64 / start.elapsed().as_secs_f64();
    for mut worker in running {
        // Nothing is left to do or lose.
        worker.kill().await?;
    }
    Ok(rate)
}

fn spawn(context: &Context, args: &ScaleArgs, queue: &str) -> Result<Child, Failure> {
    let config = &context.config;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["bench", "worker", "--queue", queue])
        .args(["--concurrency", &args.concurrency.to_string(), "--wait", &args.wait.to_string()])
        .env("TRADEWIND_HOME", &config.home)
        .env("TRADEWIND__BROKER__URL", config.text("broker", "url"))
        .env("TRADEWIND__RESULTS__URL", config.results_url())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    Ok(command.spawn()?)
}

async fn ready(worker: &mut Child) -> Result<(), Failure> {
    let Some(stdout) = worker.stdout.take() else {
        return Err(Failure::new("a worker process has no output"));
    };
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        if line == READY {
            return Ok(());
        }
    }
    Err(Failure::new("a worker process ended at once"))
}

/// One worker process of the bench.
pub(crate) async fn worker(context: &Context, args: &BenchWorkerArgs) -> Result<(), Failure> {
    let wait = Duration::from_millis(u64::from(args.wait));
    let mut tasks = Tasks::default();
    tasks.add(TASK_WAIT, move |_context, (): ()| async move {
        tokio::time::sleep(wait).await;
        Ok(())
    });
    let broker = context.broker().await?;
    let concurrency = u32::from(args.concurrency);
    let worker = LocalWorker::start(context, broker, &args.queue, concurrency, tasks).await?;
    println!("{READY}");
    signals::shutdown()?.cancelled().await;
    worker.stop().await
}
