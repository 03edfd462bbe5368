//! What can be said about a task where it is registered.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tradewind_proto::celery::Request;

use super::limits::Rate;
use super::retry::RetryPolicy;

type Key = dyn Fn(&Request) -> String + Send + Sync;

/// Tells which calls of a task share a limit or are the same.
#[derive(Clone)]
pub struct KeyOf(Arc<Key>);

impl fmt::Debug for KeyOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyOf")
    }
}

impl KeyOf {
    /// A function of the request.
    pub fn new(key: impl Fn(&Request) -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(key))
    }

    /// All arguments.
    pub fn args() -> Self {
        Self::new(|request| {
            format!("{}{}", serde_json::json!(request.args), serde_json::json!(request.kwargs))
        })
    }

    /// One keyword argument; calls without it share a key.
    pub fn kwarg(name: &'static str) -> Self {
        Self::new(move |request| {
            request.kwargs.get(name).map(ToString::to_string).unwrap_or_default()
        })
    }

    /// The key of a call; never without the task's name.
    pub(crate) fn of(&self, request: &Request) -> String {
        format!("{}:{}", request.task, (self.0)(request))
    }
}

/// Most calls at once.
#[derive(Debug, Clone)]
pub struct Limit {
    /// How many.
    pub most: u32,
    /// Counted per key; none: all calls of the task together.
    pub per: Option<KeyOf>,
}

/// What happens to a second call of a unique task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// It ends at once as `REVOKED`, with the id of the first one.
    Drop,
    /// It waits in its queue until the first one has ended.
    Defer,
}

/// At most one call of the same key.
#[derive(Debug, Clone)]
pub struct Unique {
    /// Which calls are the same.
    pub key: KeyOf,
    /// What happens to the second one.
    pub conflict: Conflict,
    /// How long a call stays unique after it was first started; none: until it has ended.
    pub window: Option<Duration>,
}

/// Options of one task. Celery's names where Celery has them.
#[derive(Debug, Clone)]
pub struct TaskOptions {
    /// Queue that clients of the same registry send it to.
    pub queue: Option<String>,
    /// Priority that clients of the same registry give it.
    pub priority: Option<u8>,
    /// When it runs again after a failure.
    pub retry: RetryPolicy,
    /// After this time the handler is asked to stop, and fails with `SoftTimeLimitExceeded`. The
    /// message's own limit wins.
    pub soft_time_limit: Option<Duration>,
    /// After this time the handler is dropped, and the task fails with `TimeLimitExceeded`.
    pub time_limit: Option<Duration>,
    /// Ack after the run, when everything is safe. Default true; false: a dead worker's tasks are lost.
    pub acks_late: bool,
    /// Starts per second in this worker.
    pub rate_limit: Option<Rate>,
    /// Starts per second in the whole fleet.
    pub fleet_rate_limit: Option<Rate>,
    /// Most runs at once, in the fleet.
    pub concurrency: Vec<Limit>,
    /// At most one call of the same key.
    pub unique: Option<Unique>,
    /// Store no result.
    pub ignore_result: bool,
    /// Store `STARTED` when it starts.
    pub track_started: bool,
    /// How long results are kept; none: the worker's setting.
    pub result_ttl: Option<Duration>,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            queue: None,
            priority: None,
            retry: RetryPolicy::default(),
            soft_time_limit: None,
            time_limit: None,
            acks_late: true,
            rate_limit: None,
            fleet_rate_limit: None,
            concurrency: Vec::new(),
            unique: None,
            ignore_result: false,
            track_started: false,
            result_ttl: None,
        }
    }
}

impl TaskOptions {
    /// Whether a start of it needs a look at any limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.fleet_rate_limit.is_some() || !self.concurrency.is_empty() || self.unique.is_some()
    }
}
