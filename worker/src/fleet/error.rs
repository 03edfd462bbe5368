//! How a handler ends other than well.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tradewind_proto::Timestamp;
use tradewind_proto::celery::Signature;

use super::stop::StopReason;

/// Most errors of a source chain that are written into a traceback.
const SOURCES_MAX: usize = 16;

/// An exception as Celery's result backends store it.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Class name, `ValueError`.
    pub exc_type: String,
    /// Its arguments; usually one text.
    pub args: Vec<Value>,
    /// Python module of the class. Clients rebuild classes of modules that they have imported.
    pub module: String,
    /// Text for people.
    pub traceback: String,
}

impl Failure {
    /// An exception of Python's `builtins` with one text.
    pub fn new(exc_type: impl Into<String>, message: impl Into<String>) -> Self {
        let (exc_type, message) = (exc_type.into(), message.into());
        let traceback = format!("{exc_type}: {message}");
        Self { exc_type, args: vec![json!(message)], module: "builtins".to_owned(), traceback }
    }

    /// Reads Celery's object back.
    pub(crate) fn from_result(result: &Value) -> Self {
        let text = |name: &str| result.get(name).and_then(Value::as_str).map(str::to_owned);
        let exc_type = text("exc_type").unwrap_or_else(|| "Exception".to_owned());
        let args = match result.get("exc_message") {
            Some(Value::Array(args)) => args.clone(),
            Some(Value::Null) | None => Vec::new(),
            Some(one) => vec![one.clone()],
        };
        let module = text("exc_module").unwrap_or_else(|| "builtins".to_owned());
        Self { exc_type, args, module, traceback: String::new() }
    }

    /// Names the module of the class.
    #[must_use]
    pub fn module(mut self, module: impl Into<String>) -> Self {
        self.module = module.into();
        self
    }

    /// The first argument as text.
    pub fn message(&self) -> String {
        match self.args.first() {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    /// Celery's object for `result` of a failed task.
    pub fn to_result(&self) -> Value {
        json!({"exc_type": self.exc_type, "exc_message": self.args, "exc_module": self.module})
    }

    /// Python's `repr`, as events carry it: `ValueError('bad')`.
    pub fn repr(&self) -> String {
        let args: Vec<String> = self.args.iter().map(tradewind_proto::celery::repr).collect();
        format!("{}({})", self.exc_type, args.join(", "))
    }
}

/// A wish to run again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Retry {
    /// Wait; none: what the task's policy says.
    pub countdown: Option<Duration>,
    /// Not before; wins over `countdown`.
    pub eta: Option<Timestamp>,
    /// Most retries; none: what the task's policy says.
    pub max_retries: Option<u32>,
    /// Why: what the task fails with when no retry is left.
    pub because: Option<Failure>,
    /// Other positional arguments for the next run; none: the same. Of the keyword arguments, those that
    /// name one of these are then left out.
    pub args: Option<Vec<Value>>,
    /// Other keyword arguments; none: the same. One that names a positional argument takes its place.
    pub kwargs: Option<Map<String, Value>>,
}

/// How a handler ends other than well. Any error type becomes a [`TaskError::Fail`] by `?`.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskError {
    /// The task failed. The task's retry policy may run it again.
    Fail(Failure),
    /// Run again later.
    Retry(Box<Retry>),
    /// Run this in its place, under its id: who waits for the task gets the result of the replacement, and
    /// callbacks, errbacks, the rest of the chain and the chord follow that (Celery's `Task.replace`).
    Replace(Box<Signature>),
    /// End without storing a result.
    Ignore,
    /// Give the message back, or away to the dead-letter queue; then the task has failed with `Reject`.
    Reject {
        /// Back to its queue; otherwise dead-lettered.
        requeue: bool,
        /// The dead-letter reason.
        reason: String,
    },
}

impl TaskError {
    /// Fails with Python's `Exception`.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::fail("Exception", message)
    }

    /// Fails with a named exception.
    pub fn fail(exc_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Fail(Failure::new(exc_type, message))
    }

    /// Runs again as the task's policy says.
    pub fn retry() -> Self {
        Self::Retry(Box::default())
    }

    /// Runs again after a wait.
    pub fn retry_in(countdown: Duration) -> Self {
        Self::Retry(Box::new(Retry { countdown: Some(countdown), ..Retry::default() }))
    }

    /// Puts a task or canvas in this one's place.
    pub fn replace(by: Signature) -> Self {
        Self::Replace(Box::new(by))
    }

    /// Dead-letters the message.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject { requeue: false, reason: reason.into() }
    }
}

impl From<StopReason> for TaskError {
    /// What a handler that was asked to stop ends with.
    fn from(why: StopReason) -> Self {
        let (kind, module, text) = match why {
            StopReason::SoftTimeLimit => {
                ("SoftTimeLimitExceeded", "billiard.exceptions", "SoftTimeLimitExceeded()")
            }
            StopReason::TimeLimit => ("TimeLimitExceeded", "billiard.exceptions", "time limit"),
            StopReason::Terminated(_) => ("TaskRevokedError", "celery.exceptions", "terminated"),
            StopReason::Drained => ("WorkerShutdown", "celery.exceptions", "the worker stops"),
        };
        let mut failure = Failure::new(kind, text).module(module);
        if why == StopReason::SoftTimeLimit {
            failure.args.clear();
        }
        Self::Fail(failure)
    }
}

impl<E: std::error::Error> From<E> for TaskError {
    fn from(error: E) -> Self {
        // Generic parameters are cut off: they may hold paths.
        let path = std::any::type_name::<E>().split('<').next().unwrap_or_default();
        let (module, name) = path.rsplit_once("::").unwrap_or(("builtins", path));
        let mut failure = Failure::new(name, error.to_string()).module(module.replace("::", "."));
        let mut source = error.source();
        for _ in 0..SOURCES_MAX {
            let Some(inner) = source else { break };
            failure.traceback.push_str(&format!("\ncaused by: {inner}"));
            source = inner.source();
        }
        Self::Fail(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::TaskError;

    #[test]
    fn any_error_becomes_a_failure_with_its_type_and_sources() {
        let parse = || -> Result<i64, TaskError> { Ok("x".parse::<i64>()?) };
        let Err(TaskError::Fail(failure)) = parse() else { panic!("fails") };
        assert_eq!(failure.exc_type, "ParseIntError");
        assert!(failure.module.starts_with("core.num"), "{}", failure.module);
        assert_eq!(failure.message(), "invalid digit found in string");
        assert_eq!(failure.repr(), "ParseIntError('invalid digit found in string')");
    }
}
