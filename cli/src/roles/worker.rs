//! `tradewind worker`: fleet tasks and attempts of DAGs, with events, remote control and, if wanted, a
//! beat. Fleet tasks need no execution API.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tradewind_broker::Coordinator;
use tradewind_worker::external::ExternalTasks;
use tradewind_worker::fleet::Tasks;
use tradewind_worker::{DrainReport, HttpExecutionApi, Runtimes, Worker, WorkerDeps, WorkerHandle};

use super::pulse::Pulse;
use super::remote::{self, Links};
use super::signals::{self, Stages};
use super::{beat, fleet_tasks, ops, options};
use crate::args::WorkerArgs;
use crate::context::Context;
use crate::failure::Failure;

/// How long the goodbyes of events and beat may take.
const GOODBYE_WITHIN: Duration = Duration::from_secs(5);

pub(crate) async fn run(context: &Context, args: &WorkerArgs) -> Result<(), Failure> {
    context.require_shared("worker", false)?;
    if args.purge {
        purge(context).await?;
    }
    let parts = Parts::open(context).await?;
    let handle = parts.worker.handle();
    let Stages { stop, hurry } = signals::stages()?;
    let pulse = Pulse::start(handle.clone(), context.broker().await?);
    ops::serve(context, "worker", parts.registry.clone(), pulse.readiness(), stop.clone()).await?;
    let limit = context.config.seconds_or_none("worker", "exit_when_unreachable");
    let duties = Duties::start(context, &parts, &handle, args, &stop).await?;
    tell_ready(context, handle.clone());
    tokio::spawn(async move {
        hurry.cancelled().await;
        handle.hurry();
    });
    let mut running = Box::pin(parts.worker.run(stop.clone()));
    let mut lost = false;
    let report = tokio::select! {
        biased;
        report = &mut running => report,
        () = pulse.stopped(limit) => {
            lost = true;
            stop.cancel();
            running.await
        }
    };
    // It may have ended because it was told so by remote control.
    stop.cancel();
    duties.stop().await;
    parts.external.close().await;
    let report = report.map_err(|error| Failure::new(error.to_string()))?;
    tell_end(&report);
    if lost {
        let seconds = limit.unwrap_or_default().as_secs_f64();
        return Err(Failure::unavailable(format!(
            "could not consume for {seconds} s ([worker] exit_when_unreachable); giving up"
        )));
    }
    Ok(())
}

/// What a worker consists of.
struct Parts {
    worker: Worker,
    tasks: Tasks,
    external: ExternalTasks,
    coordinator: Arc<dyn Coordinator>,
    registry: prometheus::Registry,
}

impl Parts {
    async fn open(context: &Context) -> Result<Self, Failure> {
        let token = context.execution_token()?;
        let api = HttpExecutionApi::new(context.config.text("execution", "api_url"), &token)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let (tasks, external) = fleet_tasks::load(context)?;
        let coordinator = context.coordinator().await?;
        if !coordinator.shared() {
            warn!(
                "revoked tasks, limits and uniqueness hold for this worker alone; set [state] url to \
                 redis:// or postgres://"
            );
        }
        let registry = prometheus::Registry::new();
        let worker_options = options::worker(context)?;
        let deps = WorkerDeps {
            broker: context.broker().await?,
            results: context.results().await?,
            api: Arc::new(api),
            clock: Arc::clone(&context.clock),
            ids: Arc::clone(&context.ids),
            registry: registry.clone(),
            tasks: tasks.clone(),
            coordinator: Some(Arc::clone(&coordinator)),
            client: Some(context.client(Arc::clone(&coordinator)).await?),
            runtimes: Runtimes::real(&worker_options, &tasks),
        };
        let worker =
            Worker::new(worker_options, deps).map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Self { worker, tasks, external, coordinator, registry })
    }
}

/// What runs beside the worker.
struct Duties {
    stop: CancellationToken,
    running: tokio::task::JoinSet<()>,
}

impl Duties {
    async fn start(
        context: &Context,
        parts: &Parts,
        worker: &WorkerHandle,
        args: &WorkerArgs,
        shutdown: &CancellationToken,
    ) -> Result<Self, Failure> {
        let links = Links {
            bus: context.bus().await?,
            broker: context.broker().await?,
            coordinator: Arc::clone(&parts.coordinator),
        };
        let remote = remote::prepared(context, worker, parts.tasks.clone(), links).await?;
        let mut running = tokio::task::JoinSet::new();
        // Ends after the worker: the events of its last tasks are to be sent.
        let stop = CancellationToken::new();
        running.spawn(remote.run(stop.clone()));
        if args.beat
            && let Some(beat) = beat::make(context, &parts.coordinator).await?
        {
            let shutdown = shutdown.clone();
            running.spawn(async move {
                if let Err(error) = beat.run(shutdown).await {
                    tracing::error!(%error, "the beat ended");
                }
            });
        }
        Ok(Self { stop, running })
    }

    async fn stop(mut self) {
        self.stop.cancel();
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(GOODBYE_WITHIN, all).await.is_err() {
            warn!("could not say goodbye in time");
        }
    }
}

async fn purge(context: &Context) -> Result<(), Failure> {
    let broker = context.broker().await?;
    for queue in context.config.worker_queues() {
        let dropped = broker.purge(&queue).await?;
        info!(queue, dropped, "purged");
    }
    Ok(())
}

fn tell_ready(context: &Context, mut handle: WorkerHandle) {
    let queues = context.config.worker_queues().join(",");
    tokio::spawn(async move {
        if handle.ready().await {
            info!(queues, "worker ready");
        }
    });
}

fn tell_end(report: &DrainReport) {
    info!(?report, "worker stopped");
    println!(
        "worker stopped: {} ended, {} handed back while running, {} messages given back untouched, {} \
         outcomes not sent",
        report.finished, report.handed_back, report.released, report.unsent
    );
}
