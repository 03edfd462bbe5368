//! A worker for a Rust service: fleet tasks alone, without an orchestrator, Python or other processes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tradewind_broker::client::Client;
use tradewind_broker::{Broker, Coordinator, ResultBackend};
use tradewind_proto::clock::{SharedClock, SharedIds, SystemClock, SystemIds};

use super::batch::work_off;
use super::core::{Fleet, Parts, Settings};
use super::registry::Tasks;
use super::state::FleetState;
use super::stop::StopReason;
use crate::canary;
use crate::fetch::fetch;
use crate::metrics::Metrics;
use crate::worker::either;
use crate::{DrainReport, Error, WorkerOptions};

/// How long dropped handlers may take to be given back at the end of a drain.
const HAND_BACK_MAX: Duration = Duration::from_secs(10);

/// Sets a [`FleetWorker`] up.
#[derive(Debug)]
pub struct FleetWorkerBuilder {
    broker: Arc<dyn Broker>,
    results: Arc<dyn ResultBackend>,
    coordinator: Option<Arc<dyn Coordinator>>,
    client: Option<Client>,
    tasks: Tasks,
    clock: SharedClock,
    ids: SharedIds,
    registry: prometheus::Registry,
    options: WorkerOptions,
}

impl FleetWorkerBuilder {
    /// The tasks that it runs.
    #[must_use]
    pub fn tasks(mut self, tasks: Tasks) -> Self {
        self.tasks = tasks;
        self
    }

    /// Node name; `%h` stands for the host name. Default `celery@%h`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// Queues to consume. Default `["default"]`.
    #[must_use]
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.options.queues = queues.into_iter().map(Into::into).collect();
        self
    }

    /// Tasks run at once. Default 16.
    #[must_use]
    pub fn concurrency(mut self, slots: u16) -> Self {
        self.options.concurrency = slots;
        self
    }

    /// Everything else that can be set; what concerns processes and Python has no effect.
    #[must_use]
    pub fn options(mut self, change: impl FnOnce(&mut WorkerOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// What the whole fleet agrees on. Without it limits, uniqueness and revocations are this worker's
    /// alone, and poisonous messages are not quarantined.
    #[must_use]
    pub fn coordinator(mut self, coordinator: Arc<dyn Coordinator>) -> Self {
        self.coordinator = Some(coordinator);
        self
    }

    /// What handlers send with; see [`Context::client`](super::Context::client).
    #[must_use]
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Where metrics are registered.
    #[must_use]
    pub fn registry(mut self, registry: prometheus::Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Wall time and ids. Default: the host's.
    #[must_use]
    pub fn sources(mut self, clock: SharedClock, ids: SharedIds) -> Self {
        (self.clock, self.ids) = (clock, ids);
        self
    }

    /// The worker, not started.
    ///
    /// # Errors
    /// When an option cannot be used.
    pub fn build(self) -> Result<FleetWorker, Error> {
        let Self { broker, results, coordinator, client, tasks, clock, ids, registry, options } =
            self;
        options.validate()?;
        let metrics = Metrics::new(&registry)
            .map_err(|e| Error::Option { option: "registry", reason: e.to_string() })?;
        metrics.slots.set(i64::from(options.concurrency));
        let hostname = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let name = options.node_name(hostname.as_deref().unwrap_or("localhost"));
        let queues = options.queues.clone();
        let state = FleetState::new(Arc::clone(&clock), queues, options.concurrency);
        let settings = Settings {
            result_ttl: Duration::from_secs(options.result_ttl_seconds),
            renewal: options.heartbeat_interval(),
            quarantine_after: options.quarantine_after,
        };
        let fleet = Fleet::new(Parts {
            name: name.into(),
            broker,
            results,
            coordinator,
            client,
            tasks,
            clock,
            ids,
            metrics: Arc::new(metrics),
            state: Arc::new(state),
            settings,
        });
        let (ready, hurry) = (watch::Sender::new(false), CancellationToken::new());
        Ok(FleetWorker { fleet, options, ready, hurry })
    }

    /// Builds and runs it; see [`FleetWorker::run`].
    ///
    /// # Errors
    /// As [`FleetWorkerBuilder::build`] and [`FleetWorker::run`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<DrainReport, Error> {
        self.build()?.run(shutdown).await
    }
}

/// A worker of fleet tasks.
pub struct FleetWorker {
    fleet: Arc<Fleet>,
    options: WorkerOptions,
    ready: watch::Sender<bool>,
    hurry: CancellationToken,
}

impl fmt::Debug for FleetWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetWorker").field("name", &self.fleet.name).finish_non_exhaustive()
    }
}

impl FleetWorker {
    /// Sets a worker up.
    pub fn builder(broker: Arc<dyn Broker>, results: Arc<dyn ResultBackend>) -> FleetWorkerBuilder {
        FleetWorkerBuilder {
            broker,
            results,
            coordinator: None,
            client: None,
            tasks: Tasks::default(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            registry: prometheus::Registry::new(),
            options: WorkerOptions::default(),
        }
    }

    /// Node name.
    pub fn name(&self) -> &str {
        &self.fleet.name
    }

    /// What it does, and what steers it.
    pub fn state(&self) -> Arc<FleetState> {
        Arc::clone(&self.fleet.state)
    }

    /// Turns true when it takes messages.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Cancel it to cut the grace of a drain short (second signal).
    pub fn hurry(&self) -> CancellationToken {
        self.hurry.clone()
    }

    /// Works until `shutdown`, then drains: takes nothing more, lets running tasks end within the grace,
    /// gives the rest back to their queues.
    ///
    /// # Errors
    /// When the queues cannot be consumed at start.
    pub async fn run(self, shutdown: CancellationToken) -> Result<DrainReport, Error> {
        let Self { fleet, options, ready, hurry } = self;
        fleet.broker.declare(&options.queues).await?;
        let consumer =
            fleet.broker.consume(&options.queues, fleet.prefetch(options.concurrency)).await?;
        // Dropping this future, as a test of a dying worker does, ends everything at once.
        let _dies_with_us = fleet.draining.clone().drop_guard();
        let of_batch = Arc::clone(&fleet);
        let sink = Box::new(move |batch| work_off(Arc::clone(&of_batch), batch).boxed());
        tracing::info!(worker = %fleet.name, queues = ?options.queues, slots = options.concurrency, "worker is ready");
        let proof = canary::start(&fleet, options.canary(), ready);
        let mut fetching = tokio::spawn(fetch(Arc::clone(&fleet), consumer, proof, sink));
        tokio::select! {
            biased;
            () = either(&shutdown, fleet.state.shutdown()) => {
                fleet.draining.cancel();
                let _closed = fetching.await;
            }
            // Only a panic ends it early.
            _ = &mut fetching => tracing::error!("the fetch duty ended; the worker stops"),
        }
        fleet.draining.cancel();
        fleet.work.close();
        let grace = Duration::from_secs(options.grace_seconds);
        tracing::info!(running = fleet.state.running(), ?grace, "worker drains");
        let all_ended = tokio::select! {
            biased;
            () = fleet.work.wait() => true,
            () = hurry.cancelled() => false,
            () = tokio::time::sleep(grace) => false,
        };
        if !all_ended {
            fleet.cold.cancel();
            fleet.state.stop_all(StopReason::Drained);
            if timeout(HAND_BACK_MAX, fleet.work.wait()).await.is_err() {
                tracing::error!("some tasks could not be given back; they come back by themselves");
            }
        }
        let report = DrainReport::of(&fleet.tally);
        tracing::info!(?report, "worker has drained");
        Ok(report)
    }
}
