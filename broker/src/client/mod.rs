//! The client: sends tasks as Celery's clients do, and follows their results.
//!
//! ```
//! use std::time::Duration;
//! use tradewind_broker::client::{Client, ClientOptions, Route, TaskCall};
//! use tradewind_proto::celery::Signature;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut options = ClientOptions::new("memory://"); // redis://… or amqp://… in earnest
//! options.routes.push(("reports.*".to_owned(), Route::queue("slow")));
//! let client = Client::connect(options).await?;
//!
//! // One task, with options for this message alone.
//! let call = TaskCall::new("math.add").args((2, 3)).priority(5).expires_in(Duration::from_secs(60));
//! let handle = client.send(call).await?;
//! assert_eq!(handle.state().await?, "PENDING");
//! // let sum: i64 = handle.result(Duration::from_secs(10)).await?;
//!
//! // Many at the price of a few round trips; one answer for each.
//! let calls = (0..100).map(|n| TaskCall::new("math.add").args((n, n))).collect();
//! assert!(client.send_many(calls).await.iter().all(Result::is_ok));
//!
//! // A chain, a group, a chord: any canvas.
//! let parts = [1, 2].map(|n| Signature::new("math.add").args([n.into(), n.into()]));
//! let total = client.apply(Signature::chord(parts, Signature::new("math.sum"))).await?;
//! total.revoke(false).await?;
//! # Ok(())
//! # }
//! ```

mod call;
mod error;
mod handle;
mod options;
mod routes;
mod send;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tradewind_proto::celery::canvas::{self, Applied, Plan};
use tradewind_proto::celery::{ControlRequest, Signature};
use tradewind_proto::clock::{SharedClock, SharedIds, SystemClock, SystemIds};

use crate::coordination::Revoked;
use crate::{
    Broker, BusOptions, ControlBus, Coordinator, CoordinatorOptions, ResultBackend, open, open_bus,
    open_coordinator_with, open_results,
};

pub use call::TaskCall;
pub use error::ClientError;
pub use handle::TaskHandle;
pub use options::{ClientOptions, REVOKE_TTL, SendOptions};
pub use routes::{Route, Routes};

/// Queues that are remembered as declared; then all are forgotten, and declared once more when used.
const DECLARED_MAX: usize = 10_000;

/// Sends tasks. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    broker: Arc<dyn Broker>,
    results: Arc<dyn ResultBackend>,
    bus: Option<Arc<dyn ControlBus>>,
    coordinator: Arc<dyn Coordinator>,
    routes: Routes,
    clock: SharedClock,
    ids: SharedIds,
    options: SendOptions,
    /// Queues that this client has made exist.
    declared: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("broker", &self.inner.broker.kind())
            .field("results", &self.inner.results.kind())
            .field("coordinator", &self.inner.coordinator.kind())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Opens everything that the options name.
    ///
    /// # Errors
    /// When a URL or a route cannot be used, or a server of results does not answer.
    pub async fn connect(options: ClientOptions) -> Result<Self, ClientError> {
        let clock: SharedClock = Arc::new(SystemClock);
        let broker = open(&options.broker_url, &options.broker, Arc::clone(&clock)).await?;
        let result_url = options.result_url();
        let mut results = options.results.clone();
        results.broker_url.get_or_insert_with(|| options.broker_url.clone());
        if results.ca_file.is_none() {
            results.ca_file.clone_from(&options.broker.ca_file);
        }
        if results.encryption_keys.is_none() {
            results.encryption_keys.clone_from(&options.broker.security.encryption_keys);
        }
        let backend = open_results(&result_url, &results, Arc::clone(&clock)).await?;
        let prefix = &options.broker.global_keyprefix;
        let ca_file = results.ca_file.clone();
        let facts = CoordinatorOptions { key_prefix: prefix.clone(), ca_file };
        let coordinator = open_coordinator_with(&options.coordinator_url(), &facts).await?;
        let bus = BusOptions {
            global_keyprefix: prefix.clone(),
            ca_file: options.broker.ca_file.clone(),
            ..BusOptions::default()
        };
        let bus = open_bus(&options.broker_url, &bus, Arc::clone(&clock)).await?;
        let mut routes = Routes::new(&options.default_queue);
        for (pattern, route) in options.routes {
            routes = routes.add(&pattern, route)?;
        }
        let ids = Arc::new(SystemIds);
        let client = Self::new(broker, backend, bus, coordinator, routes, clock, ids);
        Ok(client.with_options(options.send))
    }

    /// A client on parts that are open already. Without a bus, running tasks are not told when they
    /// are revoked.
    pub fn new(
        broker: Arc<dyn Broker>,
        results: Arc<dyn ResultBackend>,
        bus: impl Into<Option<Arc<dyn ControlBus>>>,
        coordinator: Arc<dyn Coordinator>,
        routes: Routes,
        clock: SharedClock,
        ids: SharedIds,
    ) -> Self {
        let inner = Inner {
            broker,
            results,
            bus: bus.into(),
            coordinator,
            routes,
            clock,
            ids,
            options: SendOptions::default(),
            declared: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The same parts with other options.
    #[must_use]
    pub fn with_options(self, options: SendOptions) -> Self {
        let old = &self.inner;
        let inner = Inner {
            broker: Arc::clone(&old.broker),
            results: Arc::clone(&old.results),
            bus: old.bus.clone(),
            coordinator: Arc::clone(&old.coordinator),
            routes: old.routes.clone(),
            clock: Arc::clone(&old.clock),
            ids: Arc::clone(&old.ids),
            options,
            declared: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Sends one task; returns once the broker has taken responsibility for it.
    ///
    /// # Errors
    /// When the call makes no sense, or the broker did not confirm it: then it is not known whether it
    /// was sent.
    pub async fn send(&self, call: impl Into<TaskCall>) -> Result<TaskHandle, ClientError> {
        self.apply(call.into().into_signature()?).await
    }

    /// Sends many tasks in batches. One answer per call, in order.
    pub async fn send_many(&self, calls: Vec<TaskCall>) -> Vec<Result<TaskHandle, ClientError>> {
        let applied = self.applied();
        let plans = calls.into_iter().map(|call| self.plan(call.into_signature()?, &applied));
        self.execute_many(plans.collect()).await
    }

    /// Sends a canvas, or what of it is to be sent first. The handle is that of the last task of a
    /// chain, the body of a chord, or a group.
    ///
    /// # Errors
    /// As [`Client::send`]. Of a group or chord some tasks may have been sent then.
    pub async fn apply(&self, signature: Signature) -> Result<TaskHandle, ClientError> {
        self.apply_as(signature, &self.applied()).await
    }

    /// Sends what follows a task: see [`Applied::by_task`].
    ///
    /// # Errors
    /// As [`Client::apply`].
    pub async fn apply_as(
        &self,
        signature: Signature,
        applied: &Applied,
    ) -> Result<TaskHandle, ClientError> {
        self.execute(self.plan(signature, applied)?).await
    }

    /// What is known of a client when it applies something.
    pub fn applied(&self) -> Applied {
        let options = &self.inner.options;
        Applied {
            reply_to: self.inner.results.reply_to().map(str::to_owned),
            origin: Some(options.origin.clone()),
            ..Applied::by_client(self.inner.clock.now())
        }
    }

    /// Plans a canvas and sends nothing.
    ///
    /// # Errors
    /// [`ClientError::Canvas`].
    pub fn plan(&self, signature: Signature, applied: &Applied) -> Result<Plan, ClientError> {
        let mut next_id = || self.inner.ids.next().to_string();
        canvas::plan(signature, applied, &mut next_id).map_err(ClientError::Canvas)
    }

    /// The handle of a task that somebody sent.
    pub fn handle(&self, id: impl Into<String>) -> TaskHandle {
        TaskHandle::new(self.clone(), tradewind_proto::celery::ResultTuple::task(id))
    }

    /// Revokes tasks: no worker starts them any more; with `terminate` those that run are killed.
    ///
    /// # Errors
    /// When neither the fleet's memory nor the workers could be told.
    pub async fn revoke(&self, ids: &[String], terminate: bool) -> Result<(), ClientError> {
        let mark = |id: &String| Revoked { id: id.clone(), terminate };
        let marks: Vec<Revoked> = ids.iter().map(mark).collect();
        self.inner.coordinator.revoke(&marks, REVOKE_TTL).await?;
        let Some(bus) = &self.inner.bus else { return Ok(()) };
        let arguments = json!({"task_id": ids, "terminate": terminate, "signal": "SIGTERM"});
        let request = ControlRequest {
            method: "revoke".to_owned(),
            arguments: arguments.as_object().cloned().unwrap_or_default(),
            ..ControlRequest::default()
        };
        bus.broadcast(request).await.map_err(ClientError::from)
    }

    /// Makes queues exist, once per client.
    async fn declare(&self, queues: BTreeSet<String>) -> Result<(), crate::Error> {
        let known = || self.inner.declared.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<String> = queues.difference(&known()).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.inner.broker.declare(&missing).await?;
        let mut known = known();
        if known.len() >= DECLARED_MAX {
            known.clear();
        }
        known.extend(missing);
        Ok(())
    }

    /// The queues.
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.inner.broker
    }

    /// The results.
    pub fn results(&self) -> &Arc<dyn ResultBackend> {
        &self.inner.results
    }

    /// The control bus, if there is one.
    pub fn bus(&self) -> Option<&Arc<dyn ControlBus>> {
        self.inner.bus.as_ref()
    }

    /// What the fleet agrees on.
    pub fn coordinator(&self) -> &Arc<dyn Coordinator> {
        &self.inner.coordinator
    }

    /// Where tasks go.
    pub fn routes(&self) -> &Routes {
        &self.inner.routes
    }
}
