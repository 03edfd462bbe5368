//! The web role: pages, execution API, health and metrics behind one port.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use prometheus::Registry;
use tradewind_broker::Broker;
use tradewind_proto::clock::{SharedClock, SharedIds};
use tradewind_store::Store;

use crate::execution::{self, ExecutionService};
use crate::ops::{self, Health, Scraper};
use crate::options::Base;
use crate::ui::{self, Guard, Links, Ui};
use crate::{BoundServer, Error, WebOptions};

/// Shortest pause between two looks of an open page.
const REFRESH_MS_MIN: u32 = 250;

/// What the server needs from the process it runs in.
#[derive(Debug)]
pub struct WebDeps {
    /// The metadata store.
    pub store: Arc<dyn Store>,
    /// The broker, for queue sizes; none: they are not shown.
    pub broker: Option<Arc<dyn Broker>>,
    /// The execution API, the same that an embedded worker calls directly.
    pub execution: ExecutionService,
    /// The clock.
    pub clock: SharedClock,
    /// Ids of triggered runs.
    pub ids: SharedIds,
    /// Metrics of this process.
    pub registries: Vec<Registry>,
    /// Queues to show besides those that workers consume.
    pub queues: Vec<String>,
}

/// A server that is set up but does not listen yet.
#[derive(Debug)]
pub struct WebServer {
    options: WebOptions,
    router: Router,
}

impl WebServer {
    /// Checks the options and puts the routes together.
    ///
    /// # Errors
    /// [`Error::BaseUrl`], [`Error::Randomness`].
    pub fn new(options: WebOptions, deps: WebDeps) -> Result<Self, Error> {
        let base = options.base()?;
        let router = routes(&options, &base, deps)?;
        Ok(Self { options, router })
    }

    /// Serves more routes under a path (`/flower`), below the path of `base_url`. They guard themselves.
    ///
    /// # Errors
    /// [`Error::BaseUrl`].
    pub fn mount(mut self, path: &str, router: Router) -> Result<Self, Error> {
        let path = format!("{}{path}", self.options.base()?.prefix);
        self.router = self.router.nest(&path, router);
        Ok(self)
    }

    /// Listens. Requests wait until [`BoundServer::run`].
    ///
    /// # Errors
    /// [`Error::Bind`].
    pub async fn bind(self) -> Result<BoundServer, Error> {
        BoundServer::bind(&self.options.host, self.options.port, self.router).await
    }

    /// All routes, to be served in process.
    pub fn router(&self) -> Router {
        self.router.clone()
    }
}

fn routes(options: &WebOptions, base: &Base, deps: WebDeps) -> Result<Router, Error> {
    let threshold = Duration::from_secs(u64::from(options.scheduler_health_seconds));
    let health = Health::new(Arc::clone(&deps.store), Arc::clone(&deps.clock), threshold);
    let scraper = Scraper {
        registries: deps.registries,
        store: Arc::clone(&deps.store),
        broker: deps.broker.clone(),
        clock: Arc::clone(&deps.clock),
        queues: deps.queues.clone(),
    };
    // For machines: found at the root as well, where probes and workers look first.
    let machines = Router::new()
        .route("/metrics", get(metrics))
        .with_state(scraper)
        .merge(ops::probes(health.readiness()))
        .merge(ops::monitor(health.clone()))
        .merge(execution::router(deps.execution).map_err(|_| Error::Randomness)?);
    let ui = Ui {
        store: deps.store,
        broker: deps.broker,
        health,
        clock: deps.clock,
        ids: deps.ids,
        queues: deps.queues,
        links: Links::new(base.prefix.clone()),
        refresh_ms: options.refresh_ms.max(REFRESH_MS_MIN),
    };
    let guard = Guard::new(&options.host, &options.allowed_hosts, base);
    let all = ui::router(Arc::new(ui), guard).merge(machines.clone());
    if base.prefix.is_empty() {
        return Ok(all);
    }
    Ok(Router::new().nest(&base.prefix, all).merge(machines))
}

async fn metrics(State(scraper): State<Scraper>) -> Response {
    scraper.answer().await
}
