//! One call of a task, built step by step.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tradewind_proto::Timestamp;
use tradewind_proto::celery::{Signature, wide, wire_time};

use super::ClientError;

/// A call that is still to be sent. Everything but the name has a default.
#[derive(Debug, Clone)]
pub struct TaskCall {
    signature: Signature,
    /// What could not be serialized.
    wrong: Option<String>,
}

impl From<Signature> for TaskCall {
    fn from(signature: Signature) -> Self {
        Self { signature, wrong: None }
    }
}

impl TaskCall {
    /// A call of a task without arguments.
    pub fn new(task: impl Into<String>) -> Self {
        Signature::new(task).into()
    }

    fn value(&mut self, what: &str, value: impl Serialize) -> Value {
        wide::to_value(&value).unwrap_or_else(|error| {
            self.wrong = Some(format!("{what} of {}: {error}", self.signature.task));
            Value::Null
        })
    }

    fn option(mut self, name: &str, value: Value) -> Self {
        self.signature.options.insert(name.to_owned(), value);
        self
    }

    /// Adds positional arguments: a tuple or a list, each element one argument.
    #[must_use]
    pub fn args(mut self, args: impl Serialize) -> Self {
        match self.value("the arguments", args) {
            Value::Array(args) => self.signature.args.extend(args),
            Value::Null => {}
            one => self.signature.args.push(one),
        }
        self
    }

    /// Adds one positional argument.
    #[must_use]
    pub fn arg(mut self, value: impl Serialize) -> Self {
        let value = self.value("an argument", value);
        self.signature.args.push(value);
        self
    }

    /// Sets a keyword argument.
    #[must_use]
    pub fn kwarg(mut self, name: &str, value: impl Serialize) -> Self {
        let value = self.value(name, value);
        self.signature.kwargs.insert(name.to_owned(), value);
        self
    }

    /// Sets keyword arguments: the members of a struct or map.
    #[must_use]
    pub fn kwargs(mut self, members: impl Serialize) -> Self {
        match self.value("the keyword arguments", members) {
            Value::Object(members) => self.signature.kwargs.extend(members),
            Value::Null => {}
            _ => self.wrong = Some("keyword arguments are no object".to_owned()),
        }
        self
    }

    /// Its id; default: a fresh one.
    #[must_use]
    pub fn task_id(self, id: impl Into<String>) -> Self {
        self.option("task_id", json!(id.into()))
    }

    /// The queue; has precedence over routes.
    #[must_use]
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.option("queue", json!(queue.into()))
    }

    /// Exchange and routing key; have precedence over routes.
    #[must_use]
    pub fn exchange(self, exchange: impl Into<String>, routing_key: impl Into<String>) -> Self {
        self.option("exchange", json!(exchange.into()))
            .option("routing_key", json!(routing_key.into()))
    }

    /// Priority. High numbers go first on RabbitMQ, 0 goes first on Redis, as with kombu.
    #[must_use]
    pub fn priority(self, priority: u8) -> Self {
        self.option("priority", json!(priority))
    }

    /// Not before this time.
    #[must_use]
    pub fn eta(self, at: Timestamp) -> Self {
        self.option("eta", json!(wire_time(at)))
    }

    /// Not before this long from when it is sent.
    #[must_use]
    pub fn countdown(self, wait: Duration) -> Self {
        self.option("countdown", json!(wait.as_secs_f64()))
    }

    /// Not after this time.
    #[must_use]
    pub fn expires(self, at: Timestamp) -> Self {
        self.option("expires", json!(wire_time(at)))
    }

    /// Not after this long from when it is sent.
    #[must_use]
    pub fn expires_in(self, wait: Duration) -> Self {
        self.option("expires", json!(wait.as_secs_f64()))
    }

    /// Killed when it runs longer.
    #[must_use]
    pub fn time_limit(self, limit: Duration) -> Self {
        self.option("time_limit", json!(limit.as_secs_f64()))
    }

    /// Asked to stop when it runs longer.
    #[must_use]
    pub fn soft_time_limit(self, limit: Duration) -> Self {
        self.option("soft_time_limit", json!(limit.as_secs_f64()))
    }

    /// Nobody wants its result.
    #[must_use]
    pub fn ignore_result(self) -> Self {
        self.option("ignore_result", json!(true))
    }

    /// Another name for logs.
    #[must_use]
    pub fn shadow(self, name: impl Into<String>) -> Self {
        self.option("shadow", json!(name.into()))
    }

    /// A header of the message, for the task or for whoever is between. Names are shared with Celery's.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        let headers = self.signature.options.entry("headers").or_insert_with(|| json!({}));
        headers[name] = value.into();
        self
    }

    /// Sent with its result when it succeeds.
    #[must_use]
    pub fn link(mut self, callback: Signature) -> Self {
        self.signature = self.signature.link(callback);
        self
    }

    /// Sent with its id when it fails.
    #[must_use]
    pub fn link_error(mut self, errback: Signature) -> Self {
        self.signature = self.signature.link_error(errback);
        self
    }

    /// The call as a signature, to be put into a canvas.
    ///
    /// # Errors
    /// When an argument is no JSON.
    pub fn into_signature(self) -> Result<Signature, ClientError> {
        match self.wrong {
            None => Ok(self.signature),
            Some(wrong) => Err(ClientError::Canvas(wrong)),
        }
    }
}
