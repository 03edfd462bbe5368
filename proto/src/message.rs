//! Celery task message, protocol 2, independent of the transport that carries it.
//!
//! Field meanings and types follow Celery's `as_task_v2`; drivers of the broker crate map this onto
//! AMQP properties and headers, and onto kombu's JSON envelope in Redis.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::headers::Headers;
use crate::names;

/// One message: AMQP-like properties, headers and an opaque body.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskMessage {
    /// `task`, `id`, `retries`, `eta`, …; unknown headers are kept.
    pub headers: Headers,
    /// Body bytes, as sent.
    pub body: Vec<u8>,
    /// MIME type of the body.
    pub content_type: String,
    /// `utf-8` or `binary`.
    pub content_encoding: String,
    /// The task id.
    pub correlation_id: String,
    /// Where the result goes, if the sender wants it (queue name).
    pub reply_to: Option<String>,
    /// Priority. On RabbitMQ high numbers go first; on Redis 0 goes first, as with kombu.
    pub priority: u8,
    /// Milliseconds after which the broker may drop it.
    pub expiration_ms: Option<u64>,
}

impl TaskMessage {
    /// A protocol 2 message whose body is a binary frame.
    pub fn frame(task: &str, id: Uuid, frame: Vec<u8>) -> Self {
        Self {
            headers: headers_v2(task, &id.to_string(), "()", "{}"),
            body: frame,
            content_type: names::CONTENT_TYPE_FRAME.to_owned(),
            content_encoding: "binary".to_owned(),
            correlation_id: id.to_string(),
            reply_to: None,
            priority: 0,
            expiration_ms: None,
        }
    }

    /// A protocol 2 message with Celery's JSON body `[args, kwargs, embed]`.
    pub fn json(task: &str, id: Uuid, args: &Value, kwargs: &Value) -> Self {
        let embed = json!({"callbacks": null, "errbacks": null, "chain": null, "chord": null});
        Self {
            headers: headers_v2(task, &id.to_string(), &args.to_string(), &kwargs.to_string()),
            body: json!([args, kwargs, embed]).to_string().into_bytes(),
            content_type: names::CONTENT_TYPE_JSON.to_owned(),
            content_encoding: "utf-8".to_owned(),
            correlation_id: id.to_string(),
            reply_to: None,
            priority: 0,
            expiration_ms: None,
        }
    }

    /// The task name: what makes a message protocol 2.
    pub fn task(&self) -> Option<&str> {
        self.header_str("task")
    }

    /// The task id.
    pub fn id(&self) -> Option<&str> {
        self.header_str("id")
    }

    /// A header, if it is a string.
    pub fn header_str(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(Value::as_str)
    }

    /// Sets a header.
    pub fn set_header(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.headers.insert(name, value);
    }

    /// Marks a dead letter with its reason, origin and time.
    pub fn mark_dead(&mut self, reason: &str, queue: &str, at: Timestamp) {
        self.set_header(names::HEADER_DEAD_REASON, reason);
        self.set_header(names::HEADER_DEAD_QUEUE, queue);
        self.set_header(names::HEADER_DEAD_AT, at.to_string());
    }

    /// The dead-letter reason, if it is one.
    pub fn dead_reason(&self) -> Option<&str> {
        self.header_str(names::HEADER_DEAD_REASON)
    }
}

fn headers_v2(task: &str, id: &str, argsrepr: &str, kwargsrepr: &str) -> Headers {
    let mut headers = Headers::for_task();
    let mut set = |name, value: Value| headers.insert(name, value);
    set("lang", "rust".into());
    set("task", task.into());
    set("id", id.into());
    for name in ["shadow", "eta", "expires", "group", "group_index"] {
        set(name, Value::Null);
    }
    set("retries", 0.into());
    set("timelimit", json!([null, null]));
    set("root_id", id.into());
    set("parent_id", Value::Null);
    set("argsrepr", argsrepr.into());
    set("kwargsrepr", kwargsrepr.into());
    set("origin", "tradewind".into());
    set("ignore_result", false.into());
    set("replaced_task_nesting", 0.into());
    set("stamped_headers", Value::Null);
    set("stamps", json!({}));
    headers
}
