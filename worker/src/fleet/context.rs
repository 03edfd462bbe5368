//! What a handler knows about the call that it works on.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tradewind_broker::ResultBackend;
use tradewind_proto::Timestamp;
use tradewind_proto::celery::{Request, state};

use super::error::TaskError;
use super::report;
use super::state::Seen;
use super::stop::{Stop, StopReason};

/// What all calls of a worker share.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) hostname: Arc<str>,
    pub(crate) results: Option<Arc<dyn ResultBackend>>,
    pub(crate) result_ttl: std::time::Duration,
}

/// One call of a task. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    seen: Arc<Seen>,
    stop: Stop,
    deadline: Option<Timestamp>,
    services: Arc<Services>,
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
        Self(Arc::new(Inner { seen, stop, deadline, services }))
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
        self.0.stop.asked().cancelled().await;
        self.0.stop.reason().unwrap_or(StopReason::Drained)
    }

    /// Whether it was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.stop.asked().is_cancelled()
    }

    /// The token behind [`Context::cancelled`], for libraries that take one.
    pub fn cancellation(&self) -> &CancellationToken {
        self.0.stop.asked()
    }

    /// Publishes how far it is: state `PROGRESS` with any value, which the end replaces. Best effort: a
    /// result backend that is away loses it.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub async fn progress(&self, value: impl Serialize) -> Result<(), TaskError> {
        let value: Value = serde_json::to_value(value)?;
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
