//! Tasks written in Rust: a registry of handlers by task name.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names;

type Handler = dyn Fn(TaskMessage) -> BoxFuture<'static, Result<Value, String>> + Send + Sync;

/// Handlers by task name. `tradewind.noop`, which returns null, is always there.
#[derive(Clone)]
pub struct Handlers(BTreeMap<String, Arc<Handler>>);

impl Default for Handlers {
    fn default() -> Self {
        let mut handlers = Self(BTreeMap::new());
        handlers.register(names::TASK_NOOP, |_| async { Ok(Value::Null) });
        handlers
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Handlers {
    /// Registers a handler; a later one of the same name replaces it. An `Err` or a panic makes the
    /// task fail with that text. Handlers must not block: they share the worker's threads.
    pub fn register<F, R>(&mut self, name: &str, handler: F)
    where
        F: Fn(TaskMessage) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, String>> + Send + 'static,
    {
        self.0.insert(name.to_owned(), Arc::new(move |message| handler(message).boxed()));
    }

    /// Whether a task has a handler.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Runs a task; an unknown name, an error and a panic are all `Err`.
    pub(crate) async fn call(&self, name: &str, message: TaskMessage) -> Result<Value, String> {
        let Some(handler) = self.0.get(name) else {
            return Err(format!("no handler is registered for {name:?} in this worker"));
        };
        match AssertUnwindSafe(async { handler(message).await }).catch_unwind().await {
            Ok(result) => result,
            Err(panic) => Err(format!("handler {name} panicked: {}", panic_text(&panic))),
        }
    }
}

pub(crate) fn panic_text(panic: &Box<dyn std::any::Any + Send>) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tradewind_proto::message::TaskMessage;
    use uuid::Uuid;

    use super::Handlers;

    fn message(task: &str) -> TaskMessage {
        TaskMessage::json(task, Uuid::from_u128(1), &json!([]), &json!({}))
    }

    #[tokio::test]
    async fn results_errors_and_panics_come_back() {
        let mut handlers = Handlers::default();
        handlers.register("bad", |_| async { Err("broken pipe".to_owned()) });
        handlers.register("worse", |m| async move { panic!("at {}", m.correlation_id.len()) });
        assert_eq!(handlers.call("tradewind.noop", message("x")).await, Ok(Value::Null));
        assert_eq!(handlers.call("bad", message("x")).await, Err("broken pipe".to_owned()));
        let error = handlers.call("worse", message("x")).await.expect_err("panics");
        assert_eq!(error, "handler worse panicked: at 36");
        assert!(
            handlers.call("none", message("x")).await.expect_err("unknown").contains("\"none\"")
        );
    }
}
