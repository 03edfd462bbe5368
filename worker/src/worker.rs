//! A worker: starts its duties, and ends them in the order that loses nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tradewind_broker::client::Client;
use tradewind_broker::{Broker, Coordinator, ResultBackend};
use tradewind_proto::clock::{SharedClock, SharedIds};

use crate::attempts::{Attempts, Stop};
use crate::core::Core;
use crate::fetch::fetch;
use crate::finish::{Finished, finish};
use crate::fleet::core::{Fleet, Parts, Settings, Tally};
use crate::fleet::{FleetState, StopReason, Tasks};
use crate::heartbeat::heartbeat;
use crate::keys::Keys;
use crate::logs::{LogHub, ship};
use crate::metrics::Metrics;
use crate::process::guard::scratch_folder;
use crate::process::{Guard, sweep};
use crate::{CONCURRENCY_MAX, Error, ExecutionApi, Runtimes, WorkerOptions};
use crate::{batch, canary};

/// How long killed attempts may take to be gone, beyond the kill grace.
const KILL_MAX: Duration = Duration::from_secs(10);

/// What a worker works with.
#[derive(Clone)]
pub struct WorkerDeps {
    /// Where messages come from.
    pub broker: Arc<dyn Broker>,
    /// Where results and outcomes go.
    pub results: Arc<dyn ResultBackend>,
    /// The store's side.
    pub api: Arc<dyn ExecutionApi>,
    /// Wall time.
    pub clock: SharedClock,
    /// Ids of this life and of claims.
    pub ids: SharedIds,
    /// Where metrics are registered.
    pub registry: prometheus::Registry,
    /// Tasks written in Rust.
    pub tasks: Tasks,
    /// What the whole fleet agrees on: revoked tasks, limits, starts. Without it this worker alone does.
    pub coordinator: Option<Arc<dyn Coordinator>>,
    /// What handlers of fleet tasks send with.
    pub client: Option<Client>,
    /// How attempts are run; see [`Runtimes::real`].
    pub runtimes: Runtimes,
}

impl fmt::Debug for WorkerDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerDeps")
            .field("broker", &self.broker)
            .field("results", &self.results)
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

/// How a drain went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DrainReport {
    /// Attempts and tasks that ended over the worker's life.
    pub finished: u64,
    /// Attempts that were killed or not begun because of the drain, and reported as handed back.
    pub handed_back: u64,
    /// Messages given back to their queues at once.
    pub released: u64,
    /// Outcomes that could not be sent; their leases end and they count as lost.
    pub unsent: u64,
}

impl DrainReport {
    pub(crate) fn of(tally: &Tally) -> Self {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            finished: read(&tally.finished),
            handed_back: read(&tally.handed_back),
            released: read(&tally.released),
            unsent: read(&tally.unsent),
        }
    }
}

/// Ends with the first of two.
pub(crate) async fn either(one: &CancellationToken, other: &CancellationToken) {
    tokio::select! {
        biased;
        () = one.cancelled() => {}
        () = other.cancelled() => {}
    }
}

/// A fleet process.
#[derive(Debug)]
pub struct Worker {
    core: Arc<Core>,
    outcomes: mpsc::Receiver<Finished>,
    ready: watch::Sender<bool>,
    hurry: CancellationToken,
}

/// Watches and hurries a worker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    core: Arc<Core>,
    ready: watch::Receiver<bool>,
    hurry: CancellationToken,
}

impl WorkerHandle {
    /// Node name.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Id of this life; every process that it starts carries it in its environment.
    pub fn instance(&self) -> uuid::Uuid {
        self.core.instance
    }

    /// Attempts that run now.
    pub fn running(&self) -> usize {
        self.core.attempts.running()
    }

    /// What the fleet half does, and what steers it.
    pub fn fleet(&self) -> &Arc<FleetState> {
        &self.core.fleet.state
    }

    /// Whether it takes messages now.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until it takes messages. False when it ended before.
    pub async fn ready(&mut self) -> bool {
        self.ready.wait_for(|ready| *ready).await.is_ok()
    }

    /// Cuts the grace of a drain short (second signal). Does nothing before the drain.
    pub fn hurry(&self) {
        self.hurry.cancel();
    }
}

impl Worker {
    /// A worker that has not started yet.
    ///
    /// # Errors
    /// When an option cannot be used.
    pub fn new(options: WorkerOptions, deps: WorkerDeps) -> Result<Self, Error> {
        options.validate()?;
        let metrics = Metrics::new(&deps.registry)
            .map_err(|e| Error::Option { option: "registry", reason: e.to_string() })?;
        metrics.slots.set(i64::from(options.concurrency));
        let hostname = nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
            .unwrap_or_else(|| "localhost".to_owned());
        // Never full: bounded by the pool's places for unsent outcomes, however far it grows.
        let (finished, outcomes) = mpsc::channel(usize::from(CONCURRENCY_MAX) * 8);
        let name: Arc<str> = options.node_name(&hostname).into();
        let metrics = Arc::new(metrics);
        let state =
            FleetState::new(Arc::clone(&deps.clock), options.queues.clone(), options.concurrency);
        let fleet = Fleet::new(Parts {
            name: Arc::clone(&name),
            broker: deps.broker,
            results: Arc::clone(&deps.results),
            coordinator: deps.coordinator,
            client: deps.client,
            tasks: deps.tasks,
            clock: Arc::clone(&deps.clock),
            ids: Arc::clone(&deps.ids),
            metrics: Arc::clone(&metrics),
            state: Arc::new(state),
            settings: Settings {
                result_ttl: Duration::from_secs(options.result_ttl_seconds),
                renewal: options.heartbeat_interval(),
                quarantine_after: options.quarantine_after,
            },
        });
        let core = Core {
            name,
            hostname: hostname.into(),
            instance: deps.ids.next(),
            results: deps.results,
            api: deps.api,
            logs: LogHub::new(Arc::clone(&deps.clock)),
            clock: deps.clock,
            ids: deps.ids,
            runtimes: deps.runtimes,
            metrics,
            attempts: Attempts::default(),
            keys: Keys::new(),
            finished,
            tally: Arc::clone(&fleet.tally),
            work: fleet.work.clone(),
            draining: fleet.draining.clone(),
            fleet,
            options,
        };
        Ok(Self {
            core: Arc::new(core),
            outcomes,
            ready: watch::channel(false).0,
            hurry: CancellationToken::new(),
        })
    }

    /// A handle.
    pub fn handle(&self) -> WorkerHandle {
        WorkerHandle {
            core: Arc::clone(&self.core),
            ready: self.ready.subscribe(),
            hurry: self.hurry.clone(),
        }
    }

    /// Works until `shutdown`, then drains: takes nothing more, lets running attempts end within the
    /// grace, kills and hands back the rest, and sends all outcomes.
    ///
    /// # Errors
    /// When the queues cannot be consumed at start, or the guard cannot be started.
    pub async fn run(self, shutdown: CancellationToken) -> Result<DrainReport, Error> {
        let Self { core, outcomes, ready, hurry } = self;
        let guard = match core.options.guard && core.runtimes.processes.is_some() {
            true => Some(Guard::start(&core.options, core.instance)?),
            false => None,
        };
        let broker = &core.fleet.broker;
        broker.declare(&core.options.queues).await?;
        let consumer = broker
            .consume(&core.options.queues, core.fleet.prefetch(core.options.concurrency))
            .await?;
        let duties = Duties::start(&core, guard, outcomes);
        for (_, runtime) in core.runtimes.iter() {
            runtime.warm(core.instance).await;
        }
        tracing::info!(worker = %core.name, instance = %core.instance, queues = ?core.options.queues, slots = core.options.concurrency, "worker is ready");
        let of_batch = Arc::clone(&core);
        let sink = Box::new(move |batch| batch::work_off(Arc::clone(&of_batch), batch).boxed());
        let proof = canary::start(&core.fleet, core.options.canary(), ready);
        let mut fetching = tokio::spawn(fetch(Arc::clone(&core.fleet), consumer, proof, sink));
        tokio::select! {
            biased;
            () = either(&shutdown, core.fleet.state.shutdown()) => {
                core.draining.cancel();
                let _closed = fetching.await;
            }
            // Only a panic ends it early.
            _ = &mut fetching => tracing::error!("the fetch duty ended; the worker stops"),
        }
        core.draining.cancel();
        Ok(drain(&core, duties, &hurry).await)
    }
}

/// Background tasks of a running worker.
struct Duties {
    /// Ended by dropping.
    free: tokio::task::JoinSet<()>,
    finishing: tokio::task::JoinHandle<()>,
    stop_finishing: CancellationToken,
    shipping: tokio::task::JoinHandle<()>,
    stop_shipping: CancellationToken,
}

impl Duties {
    fn start(core: &Arc<Core>, guard: Option<Guard>, outcomes: mpsc::Receiver<Finished>) -> Self {
        let (stop_finishing, stop_shipping) = (CancellationToken::new(), CancellationToken::new());
        let mut free = tokio::task::JoinSet::new();
        free.spawn(heartbeat(Arc::clone(core)));
        if let Some(guard) = guard {
            free.spawn(guard.watch());
        }
        if let Some(table) = &core.runtimes.processes {
            free.spawn(sweep(Arc::clone(table), core.instance));
        }
        let shipping = ship(
            Arc::clone(&core.logs),
            Arc::clone(&core.api),
            Arc::clone(&core.metrics),
            stop_shipping.clone(),
            Duration::from_secs(core.options.flush_seconds),
        );
        let finishing = finish(Arc::clone(core), outcomes, stop_finishing.clone());
        Self {
            free,
            finishing: tokio::spawn(finishing),
            stop_finishing,
            shipping: tokio::spawn(shipping),
            stop_shipping,
        }
    }
}

async fn drain(core: &Arc<Core>, duties: Duties, hurry: &CancellationToken) -> DrainReport {
    let Duties { mut free, mut finishing, stop_finishing, shipping, stop_shipping } = duties;
    let grace = Duration::from_secs(core.options.grace_seconds);
    tracing::info!(running = core.attempts.running(), ?grace, "worker drains");
    core.work.close();
    let all_ended = tokio::select! {
        biased;
        () = core.work.wait() => true,
        () = hurry.cancelled() => false,
        () = tokio::time::sleep(grace) => false,
    };
    if !all_ended {
        core.fleet.cold.cancel();
        core.attempts.stop_all(Stop::Drain);
        core.fleet.state.stop_all(StopReason::Drained);
        let limit = core.options.kill_grace() + KILL_MAX;
        if timeout(limit, core.work.wait()).await.is_err() {
            tracing::error!("some attempts could not be stopped");
        }
    }
    stop_finishing.cancel();
    let flush = Duration::from_secs(core.options.flush_seconds);
    if timeout(flush, &mut finishing).await.is_err() {
        finishing.abort();
    }
    stop_shipping.cancel();
    let _shipped = shipping.await;
    for (_, runtime) in core.runtimes.iter() {
        if timeout(KILL_MAX, runtime.close()).await.is_err() {
            tracing::warn!("a runtime did not stop in time; the guard ends it");
        }
    }
    free.shutdown().await;
    if core.runtimes.processes.is_some() {
        let _absent = std::fs::remove_dir_all(scratch_folder(core.instance));
    }
    let unsent = core.attempts.leases().len() as u64;
    let mut report = DrainReport::of(&core.tally);
    report.unsent += unsent;
    tracing::info!(?report, "worker has drained");
    report
}
