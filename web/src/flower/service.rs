//! The monitor as a service: what it holds, and the duties that keep it up to date.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use prometheus::Registry;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tradewind_broker::{Broker, Client, ControlBus, ResultBackend};
use tradewind_proto::clock::{SharedClock, SharedIds};

use super::api::Gate;
use super::history::History;
use super::inspect::Answers;
use super::link::Link;
use super::metrics::Metrics;
use super::state::{Bounds, Monitor};
use super::{FlowerError, FlowerOptions, api, watch};
use crate::BoundServer;

/// What the monitor needs from the process it runs in.
#[derive(Debug, Clone)]
pub struct FlowerDeps {
    /// Sends and revokes tasks as every other client of the fleet does: by its routes.
    pub client: Client,
    /// Queues: their sizes.
    pub broker: Arc<dyn Broker>,
    /// Results of tasks; none: the API answers 503 when it is asked for one.
    pub results: Option<Arc<dyn ResultBackend>>,
    /// Events and remote control.
    pub bus: Arc<dyn ControlBus>,
    /// The clock.
    pub clock: SharedClock,
    /// Ids of tasks sent through the API.
    pub ids: SharedIds,
}

/// What is known, under one lock that is never held across an await.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) monitor: Monitor,
    pub(super) metrics: Metrics,
    pub(super) answers: Answers,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: FlowerOptions,
    pub(super) deps: FlowerDeps,
    pub(super) gate: Gate,
    pub(super) registry: Registry,
    inner: Mutex<Inner>,
    pub(super) link: Link,
    /// Told when a worker appears, so that it is asked soon.
    pub(super) appeared: Notify,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since 1970.
    pub(super) fn now(&self) -> f64 {
        let micros = self.deps.clock.now().as_microsecond();
        #[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit in 53 bits")]
        let seconds = micros as f64 / 1e6;
        seconds
    }
}

/// A monitor that is set up and does not watch yet.
#[derive(Debug)]
pub struct FlowerService {
    shared: Arc<Shared>,
    history: Option<History>,
}

impl FlowerService {
    /// Checks the options and reads the history back. Connects to nothing.
    ///
    /// # Errors
    /// [`FlowerError::Option`], [`FlowerError::History`], [`FlowerError::Metrics`].
    pub fn new(options: FlowerOptions, deps: FlowerDeps) -> Result<Self, FlowerError> {
        options.validate()?;
        let bounds = Bounds {
            tasks: options.max_tasks,
            bytes: options.max_task_bytes,
            workers: options.max_workers,
        };
        let mut monitor = Monitor::new(bounds);
        let history = match options.history.as_deref() {
            Some(folder) => Some(restore(folder, options.history_max_bytes, &mut monitor)?),
            None => None,
        };
        let metrics = Metrics::new(&options)?;
        let registry = metrics.registry();
        let gate = Gate::new(&options).map_err(|_| FlowerError::Randomness)?;
        let inner = Mutex::new(Inner { monitor, metrics, answers: Answers::default() });
        let (link, appeared) = (Link::default(), Notify::new());
        let shared = Shared { options, deps, gate, registry, inner, link, appeared };
        Ok(Self { shared: Arc::new(shared), history })
    }

    /// What others hold of it.
    pub fn handle(&self) -> FlowerHandle {
        FlowerHandle { shared: Arc::clone(&self.shared) }
    }

    /// Watches until `shutdown`, then writes the history a last time.
    ///
    /// # Errors
    /// None at present: what fails is logged and tried again.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), FlowerError> {
        let Self { shared, history } = self;
        tokio::join!(
            watch::events(&shared, &shutdown),
            watch::looks(&shared, &shutdown),
            watch::history(&shared, history, &shutdown),
        );
        Ok(())
    }
}

fn restore(folder: &Path, max: u64, monitor: &mut Monitor) -> Result<History, FlowerError> {
    let (history, kept) = History::open(folder, max)?;
    monitor.restore(kept.workers, kept.tasks);
    Ok(history)
}

/// The running monitor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FlowerHandle {
    pub(super) shared: Arc<Shared>,
}

impl FlowerHandle {
    /// Its metrics.
    pub fn registry(&self) -> Registry {
        self.shared.registry.clone()
    }

    /// The API, `/metrics` and `/healthcheck`, without a prefix.
    pub fn router(&self) -> Router {
        api::router(self.clone())
    }

    /// Looks at the monitor's picture. Keep it short: events wait meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&Monitor) -> T) -> T {
        look(&self.shared.lock().monitor)
    }

    /// Listens for the stand-alone role. Requests wait until [`BoundServer::run`].
    ///
    /// # Errors
    /// [`FlowerError::Server`].
    pub async fn bind(&self) -> Result<BoundServer, FlowerError> {
        let options = &self.shared.options;
        let router = match options.url_prefix.as_str() {
            "" => self.router(),
            prefix => Router::new().nest(prefix, self.router()),
        };
        Ok(BoundServer::bind(&options.host, options.port, router).await?)
    }
}
