//! The handlers of a service, by task name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tradewind_proto::celery::{Request, wide};
use tradewind_proto::names;

use super::args;
use super::context::Context;
use super::error::TaskError;
use super::gather::{self, Batch, Gatherer};
use super::options::TaskOptions;

/// What a handler returns, as JSON.
pub type Outcome = Result<Value, TaskError>;

type Handler = dyn Fn(Context) -> BoxFuture<'static, Outcome> + Send + Sync;

/// One registered task. Cheap to clone.
#[derive(Clone)]
pub struct Registration {
    handler: Arc<Handler>,
    options: Arc<TaskOptions>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Registration {
    /// Its options.
    pub fn options(&self) -> &TaskOptions {
        &self.options
    }

    /// Runs it. A panic is not caught here.
    pub(crate) fn call(&self, context: Context) -> BoxFuture<'static, Outcome> {
        (self.handler)(context)
    }
}

/// Handlers by task name. `tradewind.noop`, which returns null, and Celery's built-in tasks are always
/// there. Cheap to clone once
/// everything is registered.
///
/// ```
/// use tradewind_worker::fleet::{TaskError, Tasks};
///
/// let mut tasks = Tasks::default();
/// tasks.add("proj.add", async |_context, (a, b): (i64, i64)| Ok(a + b));
/// tasks.add("proj.fail", async |_context, (): ()| -> Result<(), _> {
///     Err(TaskError::fail("ValueError", "no"))
/// });
/// assert!(tasks.contains("proj.add"));
/// ```
#[derive(Clone)]
pub struct Tasks(BTreeMap<String, Registration>);

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Default for Tasks {
    fn default() -> Self {
        let mut tasks = Self(BTreeMap::new());
        tasks.add_raw(names::TASK_NOOP, |_context| std::future::ready(Ok(Value::Null)).boxed());
        super::builtin::register(&mut tasks);
        tasks
    }
}

impl Tasks {
    /// Registers an async handler with typed arguments and a typed result. It must not block: it shares
    /// the worker's threads. A later registration of the same name replaces an earlier one.
    ///
    /// Arguments: a struct takes positional arguments by the order of its fields and keywords by name; a
    /// tuple takes positional ones; `()` takes none.
    pub fn add<F, A, R, T>(&mut self, name: &str, handler: F)
    where
        F: Fn(Context, A) -> R + Send + Sync + 'static,
        A: DeserializeOwned + Send + 'static,
        R: Future<Output = Result<T, TaskError>> + Send + 'static,
        T: Serialize + 'static,
    {
        let handler = Arc::new(handler);
        self.add_raw(name, move |context| {
            let handler = Arc::clone(&handler);
            async move {
                let args = arguments(&context)?;
                let request = Arc::clone(context.seen());
                match handler(context, args).await {
                    Ok(value) => to_json(value),
                    Err(error) => Err(again::<A>(&request.request, error)),
                }
            }
            .boxed()
        });
    }

    /// Registers a blocking handler; it runs on a thread of its own and does not starve async ones. A
    /// hard time limit or `terminate` ends the task, but cannot end the thread: look at
    /// [`Context::is_cancelled`] in long loops.
    pub fn add_blocking<F, A, T>(&mut self, name: &str, handler: F)
    where
        F: Fn(Context, A) -> Result<T, TaskError> + Send + Sync + 'static,
        A: DeserializeOwned + Send + 'static,
        T: Serialize + 'static,
    {
        let handler = Arc::new(handler);
        self.add_raw(name, move |context| {
            let handler = Arc::clone(&handler);
            async move {
                let args: A = arguments(&context)?;
                let request = Arc::clone(context.seen());
                let run = tokio::task::spawn_blocking(move || match handler(context, args) {
                    Ok(value) => to_json(value),
                    Err(error) => Err(again::<A>(&request.request, error)),
                });
                match run.await {
                    Ok(outcome) => outcome,
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => Err(TaskError::failed("the worker ended before the handler began")),
                }
            }
            .boxed()
        });
    }

    /// Registers a handler that gets several calls at once and answers each, in order.
    pub fn add_batch<F, A, R, T>(&mut self, name: &str, batch: Batch, handler: F)
    where
        F: Fn(Vec<(Context, A)>) -> R + Send + Sync + 'static,
        A: DeserializeOwned + Send + 'static,
        R: Future<Output = Vec<Result<T, TaskError>>> + Send + 'static,
        T: Serialize + 'static,
    {
        let gatherer = Gatherer::new(batch, gather::boxed(handler));
        self.add_raw(name, move |context| {
            let gatherer = Arc::clone(&gatherer);
            async move {
                let args = arguments(&context)?;
                let request = Arc::clone(context.seen());
                let outcome = gatherer.call(context, args).await;
                outcome.map_err(|error| again::<A>(&request.request, error))
            }
            .boxed()
        });
    }

    /// Registers a handler of anything: the request is in the context.
    pub fn add_raw<F>(&mut self, name: &str, handler: F)
    where
        F: Fn(Context) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
    {
        let options = self.0.get(name).map(|old| Arc::clone(&old.options)).unwrap_or_default();
        self.0.insert(name.to_owned(), Registration { handler: Arc::new(handler), options });
    }

    /// Changes the options of a registered task. False when there is none of that name.
    pub fn options(&mut self, name: &str, change: impl FnOnce(&mut TaskOptions)) -> bool {
        let Some(task) = self.0.get_mut(name) else { return false };
        change(Arc::make_mut(&mut task.options));
        true
    }

    /// A registered task.
    pub fn get(&self, name: &str) -> Option<&Registration> {
        self.0.get(name)
    }

    /// Whether a task has a handler.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// All tasks by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Registration)> {
        self.0.iter().map(|(name, task)| (name.as_str(), task))
    }
}

fn arguments<A: DeserializeOwned>(context: &Context) -> Result<A, TaskError> {
    let request = context.request();
    args::read(&request.args, &request.kwargs)
        .map_err(|error| TaskError::fail("TypeError", format!("{}() {error}", request.task)))
}

/// A wish to run again with other arguments names all of them.
fn again<A: DeserializeOwned>(request: &Request, error: TaskError) -> TaskError {
    match error {
        TaskError::Retry(retry) => {
            TaskError::Retry(Box::new(retry.in_place_of(request, args::parameters::<A>())))
        }
        other => other,
    }
}

pub(crate) fn to_json<T: Serialize>(value: T) -> Outcome {
    wide::to_value(&value).map_err(|error| {
        TaskError::fail("EncodeError", format!("the result cannot be written as JSON: {error}"))
    })
}

pub(crate) fn panic_text(panic: &Box<dyn std::any::Any + Send>) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
