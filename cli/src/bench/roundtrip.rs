//! `bench roundtrip`: from sending one task to holding its result, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tradewind_broker::{Broker, ResultBackend};
use tradewind_proto::message::TaskMessage;
use tradewind_worker::fleet::Tasks;

use super::fleet::{self, LocalWorker};
use super::python::{CeleryWorker, MODES};
use super::{Percentiles, Report, rounded};
use crate::args::FleetBenchArgs;
use crate::context::Context;
use crate::failure::Failure;

/// Most round trips; more say nothing new.
const TRIPS_MAX: u32 = 5_000;
/// Round trips before the measurement.
const WARM_UP: u32 = 100;
/// A result that takes longer is lost.
const RESULT_WITHIN: Duration = Duration::from_secs(30);

pub(crate) async fn run(context: &Context, args: &FleetBenchArgs) -> Result<(), Failure> {
    let mut report = Report::new(args.output.format());
    let broker = context.broker().await?;
    let results = context.results().await?;
    let trips = args.messages.min(TRIPS_MAX);
    report.line(&format!(
        "bench roundtrip: {trips} no-op tasks one after the other on {}, results in {}",
        broker.kind(),
        results.kind()
    ));
    let queue = fleet::queue_name(context);
    let worker = LocalWorker::start(
        context,
        Arc::clone(&broker),
        &queue,
        args.concurrency,
        Tasks::default(),
    )
    .await?;
    let to = (broker.as_ref(), results.as_ref());
    let sample = measure(context, to, &queue, trips).await?;
    worker.stop().await?;
    tell(&mut report, "roundtrip", "round trip", &sample);
    if let Some(python) = &args.python {
        for mode in MODES {
            let queue = fleet::queue_name(context);
            broker.declare(std::slice::from_ref(&queue)).await?;
            let worker = CeleryWorker::start(context, python, mode, &queue).await?;
            let sample = measure(context, to, &queue, trips.min(1000)).await?;
            worker.stop().await?;
            let key = format!("celery_{}", mode.name.replace(", ", "_").replace(' ', "_"));
            tell(&mut report, &key, &format!("Celery's worker, {}", mode.name), &sample);
        }
    }
    report.end();
    Ok(())
}

fn tell(report: &mut Report, key: &str, name: &str, sample: &Percentiles) {
    let (p50, p99) = (sample.at(50), sample.at(99));
    let line = format!("{name}: p50 {p50:.2} ms, p99 {p99:.2} ms ({} trips)", sample.count());
    report.add(&format!("{key}_p50_ms"), rounded(p50), &line);
    report.add_quietly(&format!("{key}_p99_ms"), rounded(p99));
}

async fn measure(
    context: &Context,
    to: (&dyn Broker, &dyn ResultBackend),
    queue: &str,
    trips: u32,
) -> Result<Percentiles, Failure> {
    let message = fleet::noop(context, to.1);
    for _ in 0..WARM_UP {
        trip(context, to, queue, &message).await?;
    }
    let mut sample = Vec::with_capacity(trips as usize);
    for _ in 0..trips {
        sample.push(trip(context, to, queue, &message).await?.as_secs_f64() * 1000.0);
    }
    Ok(Percentiles::new(sample))
}

async fn trip(
    context: &Context,
    (broker, results): (&dyn Broker, &dyn ResultBackend),
    queue: &str,
    message: &TaskMessage,
) -> Result<Duration, Failure> {
    let id = context.ids.next().to_string();
    let mut message = message.clone();
    message.set_header("id", id.as_str());
    message.set_header("root_id", id.as_str());
    message.correlation_id.clone_from(&id);
    let start = Instant::now();
    broker.publish(queue, message).await?;
    let found = results.wait(&id, RESULT_WITHIN).await?;
    let took = start.elapsed();
    if found.is_none() {
        return Err(Failure::new(format!("task {id} has no result after 30 s")));
    }
    results.forget(&id).await?;
    Ok(took)
}
