//! One call of an external task, as the runners see it.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::fleet::{Context, Outcome, TaskError};

/// One call of an external task.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Call {
    /// Task id.
    pub id: String,
    /// Task name.
    pub task: String,
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments.
    pub kwargs: Map<String, Value>,
    /// How often it was retried before.
    pub retries: u32,
    /// Cancelled at the soft time limit: the call is asked to end by itself. A hard end is a dropped future.
    #[serde(skip)]
    pub soft_stop: CancellationToken,
}

impl Call {
    pub(super) fn of(context: &Context) -> Self {
        let request = context.request();
        Self {
            id: request.id.clone(),
            task: request.task.clone(),
            args: request.args.clone(),
            kwargs: request.kwargs.clone(),
            retries: request.retries,
            soft_stop: context.cancellation().clone(),
        }
    }

    /// What a command reads from stdin and an HTTP server in the body.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "id": self.id, "task": self.task, "args": self.args, "kwargs": self.kwargs,
            "retries": self.retries,
        })
    }
}

/// A way to make calls.
#[async_trait]
pub(super) trait Runner: std::fmt::Debug + Send + Sync + 'static {
    /// Makes one call. Dropping the future ends everything that was started for it.
    async fn run(&self, call: &Call) -> Outcome;

    /// Ends what was kept for later calls.
    async fn close(&self) {}
}

/// What Celery's workers raise at the soft limit.
pub(super) fn soft_limit_exceeded() -> TaskError {
    let failure = crate::fleet::Failure::new("SoftTimeLimitExceeded", "SoftTimeLimitExceeded()");
    TaskError::Fail(failure.module("billiard.exceptions"))
}
