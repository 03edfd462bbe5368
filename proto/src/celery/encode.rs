//! A [`Request`] becomes a protocol 2 message again: for clients, retries and follow-ups.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Request, Signature};
use crate::headers::Headers;
use crate::message::TaskMessage;
use crate::names;

/// What a request of ours says about its language, and its time stamps' form.
const LANG: &str = "rust";

/// A time as Celery writes it: `2026-11-20T23:48:47.227277+00:00`.
pub fn wire_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

impl Request {
    /// A request with an id and nothing else; it is the root of its tree.
    pub fn new(task: impl Into<String>, id: impl Into<String>) -> Self {
        let id = id.into();
        Self { task: task.into(), root_id: Some(id.clone()), id, ..Self::default() }
    }

    /// The protocol 2 message that carries this request, with a JSON body, uncompressed, whatever it
    /// came in. Headers that are not ours go along. The broker's own expiration is left to the sender
    /// ([`TaskMessage::expiration_ms`]): it depends on the present time.
    pub fn to_message(&self) -> TaskMessage {
        TaskMessage {
            headers: self.wire_headers(),
            body: self.wire_body(),
            content_type: names::CONTENT_TYPE_JSON.to_owned(),
            content_encoding: "utf-8".to_owned(),
            correlation_id: self.id.clone(),
            reply_to: self.reply_to.clone(),
            priority: self.priority,
            expiration_ms: None,
        }
    }

    fn wire_headers(&self) -> Headers {
        let mut headers = Headers::for_task();
        let mut set = |name, value: Value| headers.insert(name, value);
        let other = |name: &str, default: Value| self.headers.get(name).cloned().unwrap_or(default);
        set("lang", other("lang", json!(LANG)));
        set("task", json!(self.task));
        set("id", json!(self.id));
        set("shadow", other("shadow", Value::Null));
        set("eta", self.eta.map(wire_time).into());
        set("expires", self.expires.map(wire_time).into());
        set("group", json!(self.group));
        set("group_index", json!(self.group_index));
        set("retries", json!(self.retries));
        set("timelimit", json!([seconds(self.time_limit), seconds(self.soft_time_limit)]));
        set("root_id", json!(self.root_id.as_ref().unwrap_or(&self.id)));
        set("parent_id", json!(self.parent_id));
        let args = if self.argsrepr.is_empty() { self.args_repr() } else { self.argsrepr.clone() };
        set("argsrepr", json!(args));
        let kwargs = &self.kwargsrepr;
        set(
            "kwargsrepr",
            json!(if kwargs.is_empty() { self.kwargs_repr() } else { kwargs.clone() }),
        );
        set("origin", json!(self.origin.as_deref().unwrap_or("tradewind")));
        set("ignore_result", json!(self.ignore_result));
        set("replaced_task_nesting", other("replaced_task_nesting", json!(0)));
        set("stamped_headers", other("stamped_headers", Value::Null));
        set("stamps", other("stamps", json!({})));
        for (name, value) in self.headers.iter() {
            if !headers.contains_key(name) {
                headers.push(name.to_owned().into(), value.clone());
            }
        }
        headers
    }

    fn wire_body(&self) -> Vec<u8> {
        let list = |signatures: &[Signature]| (!signatures.is_empty()).then(|| json!(signatures));
        let embed = json!({
            "callbacks": list(&self.embed.callbacks),
            "errbacks": list(&self.embed.errbacks),
            "chain": list(&self.embed.chain),
            "chord": self.embed.chord,
        });
        // Values always serialize; an empty body would be refused by every worker.
        super::wide::to_vec(&(&self.args, &self.kwargs, embed)).unwrap_or_default()
    }

    /// Python's `repr` of the positional arguments as they are now.
    pub fn args_repr(&self) -> String {
        super::repr::args_repr(&self.args)
    }

    /// Python's `repr` of the keyword arguments as they are now.
    pub fn kwargs_repr(&self) -> String {
        super::repr::kwargs_repr(&self.kwargs)
    }
}

/// Whole seconds as a whole number, as Python sends them.
fn seconds(limit: Option<f64>) -> Value {
    match limit {
        Some(limit) if limit.fract() == 0.0 && limit.abs() < 1e15 => json!(limit as i64),
        other => json!(other),
    }
}
