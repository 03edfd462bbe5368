//! `bench hop`: an upstream's end to its downstream's start, and the rate of a fan-out, on the
//! configured database and broker (embedded unless URLs are set).

use std::sync::Arc;
use std::time::Duration;

use tradewind_proto::state::RunState;
use tradewind_store::model::RunRow;
use tradewind_store::{Options as StoreOptions, Store};
use tradewind_web::WebOptions;

use super::{Percentiles, workloads};
use crate::admin::dags::manual_run;
use crate::args::HopArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::roles::embedded::{Embedded, Plan};

/// How often a run is looked at. The figures come from the rows, not from this.
const INTERVAL: Duration = Duration::from_millis(20);
/// A run that takes longer has hung.
const RUN_WITHIN: Duration = Duration::from_secs(300);

pub(crate) async fn run(context: &Context, args: &HopArgs) -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("tradewind-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = measure(context, args, &folder).await;
    std::fs::remove_dir_all(&folder)?;
    result
}

async fn measure(
    context: &Context,
    args: &HopArgs,
    folder: &std::path::Path,
) -> Result<(), Failure> {
    std::fs::write(folder.join("bench.py"), workloads::dag_file(args.tasks, args.fan_out))?;
    let database = context.config.text("database", "url");
    let embedded = database.starts_with("sqlite");
    let store = if embedded {
        let path = folder.join("bench.db");
        tradewind_store::open(&format!("sqlite:///{}", path.display()), &StoreOptions::default())
            .await?
    } else {
        context.store_unchecked().await?
    };
    store.migrate().await?;
    let mut plan = Plan::from_config(context)?;
    plan.scheduler.dags_folder = folder.to_owned();
    plan.scheduler.default_pool_slots = 1_000_000;
    plan.worker.dags_folder = folder.to_owned();
    plan.worker.concurrency = u16::try_from(args.concurrency).unwrap_or(u16::MAX);
    plan.worker.prestart_python = true;
    plan.web = Some(WebOptions { port: 0, ..WebOptions::default() });
    plan.http_api = !embedded;
    println!(
        "bench hop: {} on {}, {} results, {} slots",
        if embedded { "SQLite (file)" } else { "PostgreSQL" },
        context.config.text("broker", "url").split("://").next().unwrap_or_default(),
        context.config.results_url().split("://").next().unwrap_or_default(),
        args.concurrency
    );
    let mut running = Embedded::start(context, store, plan).await?;
    running.scheduler.scanned().await;
    let result = all(&running.store, &running.scheduler, args).await;
    running.stop(Duration::ZERO).await?;
    result
}

async fn all(
    store: &Arc<dyn Store>,
    scheduler: &tradewind_scheduler::SchedulerHandle,
    args: &HopArgs,
) -> Result<(), Failure> {
    for kind in ["bash", "python"] {
        // One run to warm caches and the Python host, not counted.
        one(store, scheduler, &format!("bench_chain_{kind}")).await?;
        let (mut hops, mut totals) = (Vec::new(), Vec::new());
        for _ in 0..args.runs {
            let run = one(store, scheduler, &format!("bench_chain_{kind}")).await?;
            let (found, total) = chain(store.as_ref(), &run).await?;
            hops.extend(found);
            totals.push(total);
        }
        let hops = Percentiles::new(hops);
        let totals = Percentiles::new(totals);
        println!(
            "{}-task {kind} chain: hop p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms ({} hops); \
             whole chain p50 {:.0} ms",
            args.tasks,
            hops.at(50),
            hops.at(95),
            hops.at(99),
            hops.count(),
            totals.at(50),
        );
    }
    if args.fan_out > 0 {
        for kind in ["bash", "python"] {
            let run = one(store, scheduler, &format!("bench_fan_{kind}")).await?;
            let seconds = seconds(&run);
            println!(
                "1 → {} → 1 {kind}: {seconds:.2} s, {:.0} tasks/s",
                args.fan_out,
                f64::from(args.fan_out + 2) / seconds
            );
        }
    }
    Ok(())
}

fn seconds(run: &RunRow) -> f64 {
    match (run.start_date, run.end_date) {
        (Some(start), Some(end)) => end.duration_since(start).as_secs_f64(),
        _ => f64::NAN,
    }
}

async fn one(
    store: &Arc<dyn Store>,
    scheduler: &tradewind_scheduler::SchedulerHandle,
    dag_id: &str,
) -> Result<RunRow, Failure> {
    let Some(dag) = store.dag(dag_id).await? else {
        let errors = store.import_errors().await?;
        return Err(Failure::new(format!("the bench's DAG {dag_id} did not load: {errors:?}")));
    };
    let now = jiff::Timestamp::now();
    let run = manual_run(&dag, None, None, serde_json::Map::new(), now)?;
    let run = store.trigger(run, now).await?;
    scheduler.wake();
    let ended = async {
        loop {
            if let Some(run) = store.run(dag_id, &run.run_id).await?
                && run.state.is_terminal()
            {
                return Ok::<_, Failure>(run);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    let run = tokio::time::timeout(RUN_WITHIN, ended)
        .await
        .map_err(|_| Failure::new(format!("run of {dag_id} hung")))??;
    match run.state {
        RunState::Success => Ok(run),
        state => Err(Failure::new(format!("run of {dag_id} ended in state {state}"))),
    }
}

/// Milliseconds of every hop, and from the first start to the last end.
async fn chain(store: &dyn Store, run: &RunRow) -> Result<(Vec<f64>, f64), Failure> {
    let mut tasks = store.task_instances(run.id).await?;
    tasks.sort_by(|a, b| a.task_id.cmp(&b.task_id));
    let times: Vec<_> = tasks.iter().filter_map(|t| Some((t.start_date?, t.end_date?))).collect();
    let hops = times
        .windows(2)
        .map(|pair| pair[1].0.duration_since(pair[0].1).as_secs_f64() * 1000.0)
        .collect();
    let total = match (times.first(), times.last()) {
        (Some(first), Some(last)) => last.1.duration_since(first.0).as_secs_f64() * 1000.0,
        _ => 0.0,
    };
    Ok((hops, total))
}
