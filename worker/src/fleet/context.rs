//! What a handler knows about the call that it works on.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tradewind_broker::ResultBackend;
use tradewind_broker::client::Client;
use tradewind_proto::Timestamp;
use tradewind_proto::celery::canvas::{Applied, plan};
use tradewind_proto::celery::{Request, ResultTuple, Signature, state, wide};

use super::core::Fleet;
use super::error::TaskError;
use super::registry::Tasks;
use super::state::Seen;
use super::stop::{Stop, StopReason};
use super::{publish, report};

/// What all calls of a worker share.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) hostname: Arc<str>,
    pub(crate) results: Option<Arc<dyn ResultBackend>>,
    pub(crate) result_ttl: std::time::Duration,
    pub(crate) tasks: Tasks,
    pub(crate) client: Option<Client>,
    /// For what a handler sends.
    pub(crate) fleet: Weak<Fleet>,
}

impl Services {
    /// Without a worker: nothing is stored or sent.
    pub(crate) fn alone(hostname: &str, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            hostname: hostname.into(),
            results: None,
            result_ttl: std::time::Duration::ZERO,
            tasks,
            client: None,
            fleet: Weak::new(),
        })
    }
}

/// One call of a task. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    seen: Arc<Seen>,
    stop: Stop,
    deadline: Option<Timestamp>,
    services: Arc<Services>,
    /// Whether the handler looks at its cancellation itself.
    cooperative: AtomicBool,
    /// Result tuples of what it has sent.
    children: Mutex<Vec<Value>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("id", &self.id()).field("task", &self.task()).finish()
    }
}

impl Context {
    pub(crate) fn new(
        seen: Arc<Seen>,
        stop: Stop,
        deadline: Option<Timestamp>,
        services: Arc<Services>,
    ) -> Self {
        Self(Arc::new(Inner {
            seen,
            stop,
            deadline,
            services,
            cooperative: AtomicBool::new(false),
            children: Mutex::default(),
        }))
    }

    /// Task id.
    pub fn id(&self) -> &str {
        &self.request().id
    }

    /// Task name.
    pub fn task(&self) -> &str {
        &self.request().task
    }

    /// How often it was retried before: 0 for the first run.
    pub fn retries(&self) -> u32 {
        self.request().retries
    }

    /// The whole request: arguments, root, parent, group, headers.
    pub fn request(&self) -> &Request {
        &self.0.seen.request
    }

    /// Queue that it came from.
    pub fn queue(&self) -> &str {
        &self.0.seen.queue
    }

    /// Whether the broker had delivered it before; it may then have run in part already.
    pub fn is_redelivered(&self) -> bool {
        self.0.seen.redelivered
    }

    /// Node name of the worker.
    pub fn worker(&self) -> &str {
        &self.0.services.hostname
    }

    /// When its hard time limit ends it.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.0.deadline
    }

    /// Waits until the call is asked to stop, and says why. A handler that then returns is on time; one
    /// that does not is dropped by the hard limit, `terminate` or the end of a drain.
    pub async fn cancelled(&self) -> StopReason {
        self.cooperate();
        self.0.stop.asked().cancelled().await;
        self.0.stop.reason().unwrap_or(StopReason::Drained)
    }

    /// Whether it was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cooperate();
        self.0.stop.asked().is_cancelled()
    }

    /// The token behind [`Context::cancelled`], for libraries that take one.
    pub fn cancellation(&self) -> &CancellationToken {
        self.cooperate();
        self.0.stop.asked()
    }

    /// Sends a task, or a canvas: it becomes a child of this one. Returns once the broker has it.
    ///
    /// # Errors
    /// When the canvas makes no sense, or the broker or the result backend refuse it.
    pub async fn send(&self, signature: Signature) -> Result<ResultTuple, TaskError> {
        let Some(fleet) = self.0.services.fleet.upgrade() else {
            return Err(TaskError::failed("a task that runs without a worker sends nothing"));
        };
        let mut applied = Applied::by_task(self.request(), Vec::new(), fleet.clock.now());
        applied.reply_to.clone_from(&self.request().reply_to);
        let mut ids = || fleet.ids.next().to_string();
        let planned = plan(signature, &applied, &mut ids).map_err(TaskError::failed)?;
        let result = planned.result.clone();
        publish::apply(&fleet, planned, self.queue()).await?;
        self.children().push(result.to_value());
        Ok(result)
    }

    /// The client that the worker was given, for what is no child of this task: other queues and options,
    /// handles, revocation.
    pub fn client(&self) -> Option<&Client> {
        self.0.services.client.as_ref()
    }

    pub(crate) fn services(&self) -> &Arc<Services> {
        &self.0.services
    }

    /// A call of another task in its place.
    pub(crate) fn stand_in(&self, seen: Seen) -> Self {
        let services = Arc::clone(&self.0.services);
        Self::new(Arc::new(seen), self.0.stop.clone(), self.0.deadline, services)
    }

    pub(crate) fn is_cooperative(&self) -> bool {
        self.0.cooperative.load(Ordering::Relaxed)
    }

    pub(crate) fn take_children(&self) -> Vec<Value> {
        std::mem::take(&mut *self.children())
    }

    fn children(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cooperate(&self) {
        self.0.cooperative.store(true, Ordering::Relaxed);
    }

    /// Publishes how far it is: state `PROGRESS` with any value, which the end replaces. Best effort: a
    /// result backend that is away loses it.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub async fn progress(&self, value: impl Serialize) -> Result<(), TaskError> {
        let value = wide::to_value(&value)?;
        let Some(results) = &self.0.services.results else { return Ok(()) };
        if self.request().ignore_result {
            return Ok(());
        }
        let stored = report::running(self.request(), state::PROGRESS, &value);
        if let Err(error) = results.put(stored, self.0.services.result_ttl).await {
            tracing::debug!(%error, id = self.id(), "progress was not stored");
        }
        Ok(())
    }
}
