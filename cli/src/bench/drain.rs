//! `bench drain`: no-op messages per second through a worker with results on, beside a bare client
//! loop on the same broker in the same run, and beside Celery's worker if there is one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tradewind_broker::{Broker, Error, ResultBackend, bare};
use tradewind_worker::fleet::Tasks;

use super::python::{CeleryWorker, MODES, Mode};
use super::{Report, fleet, rounded, usage};
use crate::args::FleetBenchArgs;
use crate::context::Context;
use crate::failure::Failure;
use fleet::LocalWorker;

/// Most messages that Celery is given: more would only take longer.
const CELERY_MAX: usize = 20_000;
/// Messages that warm Celery's children up.
const WARM_UP: usize = 200;

/// One measurement of a worker.
#[derive(Debug)]
struct Drain {
    rate: f64,
    cpu_us: f64,
    peak_kib: u64,
}

impl Drain {
    fn new(count: usize, took: Duration, cpu: Duration, peak_kib: u64) -> Self {
        let each = |time: Duration| time.as_secs_f64() / count as f64;
        Self { rate: 1.0 / each(took), cpu_us: each(cpu) * 1e6, peak_kib }
    }

    fn report(&self, report: &mut Report, key: &str, name: &str) {
        let Self { rate, cpu_us, peak_kib } = self;
        let mib = *peak_kib as f64 / 1024.0;
        report.add(
            &format!("{key}_per_second"),
            rounded(*rate),
            &format!(
                "{name}: {rate:.0} messages/s, {cpu_us:.0} µs CPU per task, {mib:.0} MiB peak"
            ),
        );
        report.add_quietly(&format!("{key}_cpu_us_per_task"), rounded(*cpu_us));
        report.add_quietly(&format!("{key}_peak_mib"), rounded(mib));
    }
}

pub(crate) async fn run(context: &Context, args: &FleetBenchArgs) -> Result<(), Failure> {
    let mut report = Report::new(args.output.format());
    let broker = context.broker().await?;
    let results = context.results().await?;
    let queue = fleet::queue_name(context);
    let count = args.messages as usize;
    report.line(&format!(
        "bench drain: {count} no-op messages on {}, results in {}, {} slots",
        broker.kind(),
        results.kind(),
        args.concurrency
    ));
    let message = fleet::noop(context, results.as_ref());
    let published = fleet::publish(context, broker.as_ref(), &queue, &message, count).await?;
    let published = count as f64 / published.as_secs_f64();
    let line = format!("publish: {published:.0} messages/s");
    report.add("publish_per_second", rounded(published), &line);
    let ours = drain(context, args, &broker, &queue, count).await?;
    ours.report(&mut report, "drain", "drain (take, run, store result, ack)");
    match bare::run(context.config.text("broker", "url"), &format!("{queue}-bare"), count).await {
        Ok(loops) => {
            against(&mut report, ours.rate, count, &loops);
        }
        Err(Error::Config(reason)) => report.line(&format!("bare client loop: {reason}")),
        Err(error) => return Err(error.into()),
    }
    if let Some(python) = &args.python {
        for mode in MODES {
            let to = (broker.as_ref(), results.as_ref());
            let theirs = celery(context, python, mode, to, count.min(CELERY_MAX)).await?;
            let key = format!("celery_{}", mode.name.replace(", ", "_").replace(' ', "_"));
            theirs.report(&mut report, &key, &format!("Celery, {}", mode.name));
            let times = ours.rate / theirs.rate;
            report.add(&format!("times_{key}"), rounded(times), &format!("{times:.1} × Celery"));
        }
    }
    report.end();
    Ok(())
}

/// Beside what is no worker: the way of one message, as our result has to go it too, and half of it.
fn against(report: &mut Report, ours: f64, count: usize, loops: &bare::Loops) {
    let through = count as f64 / loops.through.as_secs_f64();
    let line = format!(
        "bare client loop (publish, take and ack at once, in batches of 64, no results): {through:.0} messages/s"
    );
    report.add("bare_through_per_second", rounded(through), &line);
    let ratio = ours / through;
    report.add("ratio", rounded(ratio), &format!("ratio: {ratio:.2} of the bare loop"));
    let drain = count as f64 / loops.drain.as_secs_f64();
    let line = format!(
        "bare client loop (take and ack from a full queue): {drain:.0} messages/s, {:.2}",
        ours / drain
    );
    report.add("bare_drain_per_second", rounded(drain), &line);
}

async fn drain(
    context: &Context,
    args: &FleetBenchArgs,
    broker: &Arc<dyn Broker>,
    queue: &str,
    count: usize,
) -> Result<Drain, Failure> {
    usage::reset_own_peak();
    let before = usage::own();
    let start = Instant::now();
    let worker =
        LocalWorker::start(context, Arc::clone(broker), queue, args.concurrency, Tasks::default())
            .await?;
    fleet::drained(broker.as_ref(), queue).await?;
    worker.stop().await?;
    let took = start.elapsed();
    let after = usage::own();
    broker.purge(queue).await?;
    Ok(Drain::new(count, took, after.cpu.saturating_sub(before.cpu), after.peak_kib))
}

/// Celery's worker on the same work, already started and warm.
async fn celery(
    context: &Context,
    python: &Path,
    mode: Mode,
    (broker, results): (&dyn Broker, &dyn ResultBackend),
    count: usize,
) -> Result<Drain, Failure> {
    let queue = fleet::queue_name(context);
    broker.declare(std::slice::from_ref(&queue)).await?;
    let worker = CeleryWorker::start(context, python, mode, &queue).await?;
    let message = fleet::noop(context, results);
    fleet::publish(context, broker, &queue, &message, WARM_UP).await?;
    fleet::drained(broker, &queue).await?;
    let before = worker.usage();
    // Publishing is many times faster than Celery: the queue is full while it is measured.
    let start = Instant::now();
    fleet::publish(context, broker, &queue, &message, count).await?;
    fleet::drained(broker, &queue).await?;
    let took = start.elapsed();
    let after = worker.usage();
    worker.stop().await?;
    Ok(Drain::new(count, took, after.cpu.saturating_sub(before.cpu), after.peak_kib))
}
