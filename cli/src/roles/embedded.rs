//! Scheduler, worker and (if asked for) pages in one process: what `standalone`, `dags test` and the
//! benches run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tradewind_broker::{Broker, MemoryBroker, ResultBackend};
use tradewind_scheduler::{Scheduler, SchedulerDeps, SchedulerHandle, SchedulerOptions};
use tradewind_store::Store;
use tradewind_web::{ExecutionService, FlowerHandle, WebDeps, WebOptions, WebServer};
use tradewind_worker::{
    ExecutionApi, HttpExecutionApi, Runtimes, Worker, WorkerDeps, WorkerOptions,
};

use super::any_queue::AnyQueue;
use super::embedded_fleet::FleetParts;
use super::local_api::LocalApi;
use super::{options, scheduler};
use crate::context::Context;
use crate::failure::Failure;

/// How long stopping may take besides the worker's grace.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What is started, and how.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) scheduler: SchedulerOptions,
    pub(crate) worker: WorkerOptions,
    /// Pages, if wanted.
    pub(crate) web: Option<WebOptions>,
    /// The worker claims over HTTP, as in a fleet; needs `web`.
    pub(crate) http_api: bool,
    /// The worker serves fleet tasks too, under remote control, beside the beat, and the pages have the
    /// monitor.
    pub(crate) fleet: bool,
}

impl Plan {
    /// As the configuration says, with pages.
    pub(crate) fn from_config(context: &Context) -> Result<Self, Failure> {
        Ok(Self {
            scheduler: options::scheduler(context)?,
            worker: options::worker(context)?,
            web: Some(options::web(context)?),
            http_api: false,
            fleet: false,
        })
    }
}

/// The running parts.
#[derive(Debug)]
pub(crate) struct Embedded {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) scheduler: SchedulerHandle,
    pub(crate) web: Option<SocketAddr>,
    shutdown: CancellationToken,
    parts: JoinSet<Result<(), Failure>>,
}

/// What the parts share.
struct Shared<'a> {
    context: &'a Context,
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    results: Arc<dyn ResultBackend>,
    /// Of the execution service, the scheduler and the worker: some names are kept by two of them.
    registries: [prometheus::Registry; 3],
    execution: ExecutionService,
}

impl Embedded {
    /// Starts everything; returns when the worker consumes.
    pub(crate) async fn start(
        context: &Context,
        store: Arc<dyn Store>,
        plan: Plan,
    ) -> Result<Self, Failure> {
        let shared = Shared::new(context, store).await?;
        let shutdown = CancellationToken::new();
        let mut parts = JoinSet::new();
        let fleet = match plan.fleet {
            true => Some(FleetParts::open(context, &shared.broker, &shared.results).await?),
            false => None,
        };
        let web = match plan.web {
            Some(options) => {
                let fleet = fleet.as_ref();
                Some(shared.web(options, fleet, &shutdown, &mut parts).await?)
            }
            None => None,
        };
        let api: Arc<dyn ExecutionApi> = match web {
            Some(address) if plan.http_api => {
                let token = context.execution_token()?;
                let api = HttpExecutionApi::new(&format!("http://{address}"), &token);
                Arc::new(api.map_err(|error| Failure::new(error.to_string()))?)
            }
            _ => Arc::new(LocalApi(shared.execution.clone())),
        };
        let scheduler = shared.scheduler(plan.scheduler, &shutdown, &mut parts)?;
        if let Some(fleet) = &fleet {
            fleet.beat(context, &shutdown, &mut parts)?;
        }
        shared.worker(plan.worker, fleet, api, &shutdown, &mut parts).await?;
        Ok(Self { store: shared.store, scheduler, web, shutdown, parts })
    }

    /// Waits until a part ends, which none should.
    pub(crate) async fn ended(&mut self) -> Failure {
        match self.parts.join_next().await {
            Some(Ok(Err(failure))) => failure,
            Some(Err(panic)) => Failure::new(format!("a part of the process panicked: {panic}")),
            Some(Ok(Ok(()))) | None => Failure::new("a part of the process ended by itself"),
        }
    }

    /// Stops all parts well.
    pub(crate) async fn stop(mut self, grace: Duration) -> Result<(), Failure> {
        self.shutdown.cancel();
        let all = async {
            let mut result = Ok(());
            while let Some(part) = self.parts.join_next().await {
                let part = part.unwrap_or_else(|panic| Err(Failure::new(panic.to_string())));
                result = result.and(part);
            }
            result
        };
        match tokio::time::timeout(grace + STOP_WITHIN, all).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new("stopping took too long")),
        }
    }
}

impl<'a> Shared<'a> {
    async fn new(context: &'a Context, store: Arc<dyn Store>) -> Result<Self, Failure> {
        let broker: Arc<dyn Broker> = if context.config.text("broker", "url").starts_with("memory")
        {
            Arc::new(AnyQueue(MemoryBroker::new(Arc::clone(&context.clock))))
        } else {
            context.broker().await?
        };
        let registries = [(); 3].map(|()| prometheus::Registry::new());
        let execution = ExecutionService::new(
            options::execution(context)?,
            Arc::clone(&store),
            Arc::clone(&context.clock),
            &registries[0],
        )
        .map_err(|error| Failure::new(error.to_string()))?;
        let results = context.results().await?;
        Ok(Self { context, store, broker, results, registries, execution })
    }

    async fn web(
        &self,
        options: WebOptions,
        fleet: Option<&FleetParts>,
        shutdown: &CancellationToken,
        parts: &mut JoinSet<Result<(), Failure>>,
    ) -> Result<SocketAddr, Failure> {
        let monitor = match fleet {
            Some(fleet) => fleet.watch(self.context, shutdown, parts)?,
            None => None,
        };
        let mut registries = self.registries.to_vec();
        registries.extend(monitor.as_ref().map(FlowerHandle::registry));
        let deps = WebDeps {
            store: Arc::clone(&self.store),
            broker: Some(Arc::clone(&self.broker)),
            execution: self.execution.clone(),
            clock: Arc::clone(&self.context.clock),
            ids: Arc::clone(&self.context.ids),
            registries,
            queues: self.context.config.list("worker", "queues"),
        };
        let failed = |error: tradewind_web::Error| Failure::new(error.to_string());
        let mut server = WebServer::new(options, deps).map_err(failed)?;
        if let Some(monitor) = monitor {
            server = server.mount("/flower", monitor.router()).map_err(failed)?;
        }
        let server = server.bind().await.map_err(failed)?;
        let address = server.local_addr();
        let shutdown = shutdown.clone();
        parts.spawn(async move { server.run(shutdown).await.map_err(failed) });
        Ok(address)
    }

    fn scheduler(
        &self,
        options: SchedulerOptions,
        shutdown: &CancellationToken,
        parts: &mut JoinSet<Result<(), Failure>>,
    ) -> Result<SchedulerHandle, Failure> {
        let deps = SchedulerDeps {
            store: Arc::clone(&self.store),
            broker: Arc::clone(&self.broker),
            results: Arc::clone(&self.results),
            signing_key: scheduler::signing_key()?,
            clock: Arc::clone(&self.context.clock),
            ids: Arc::clone(&self.context.ids),
            registry: self.registries[1].clone(),
        };
        let scheduler =
            Scheduler::new(options, deps).map_err(|error| Failure::usage(error.to_string()))?;
        let handle = scheduler.handle();
        let shutdown = shutdown.clone();
        parts.spawn(async move {
            scheduler.run(shutdown).await.map_err(|error| Failure::new(error.to_string()))
        });
        Ok(handle)
    }

    async fn worker(
        &self,
        options: WorkerOptions,
        fleet: Option<FleetParts>,
        api: Arc<dyn ExecutionApi>,
        shutdown: &CancellationToken,
        parts: &mut JoinSet<Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let tasks = fleet.as_ref().map(|fleet| fleet.tasks.clone()).unwrap_or_default();
        let deps = WorkerDeps {
            broker: Arc::clone(&self.broker),
            results: Arc::clone(&self.results),
            api,
            clock: Arc::clone(&self.context.clock),
            ids: Arc::clone(&self.context.ids),
            registry: self.registries[2].clone(),
            runtimes: Runtimes::real(&options, &tasks),
            tasks,
            coordinator: fleet.as_ref().map(|fleet| Arc::clone(fleet.client.coordinator())),
            client: fleet.as_ref().map(|fleet| fleet.client.clone()),
        };
        let worker =
            Worker::new(options, deps).map_err(|error| Failure::usage(error.to_string()))?;
        let mut handle = worker.handle();
        let duties = match fleet {
            Some(fleet) => Some(fleet.obey(self.context, &handle).await?),
            None => None,
        };
        let shutdown = shutdown.clone();
        parts.spawn(async move {
            let ran = worker.run(shutdown).await;
            if let Some(duties) = duties {
                duties.end().await;
            }
            match ran {
                Ok(_report) => Ok(()),
                Err(error) => {
                    error!(%error, "the worker ended");
                    Err(Failure::new(error.to_string()))
                }
            }
        });
        handle.ready().await;
        Ok(())
    }
}
