//! A task message becomes a [`Request`]: protocol 2, protocol 1, and the hybrid of both.

mod bad;
mod body;
mod fields;
mod inflate;
mod msgpack;
mod text;

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Embed, Request, Signature};
use crate::message::TaskMessage;
pub use bad::BadMessage;
use fields::Fields;
pub(super) use fields::parse_time;
pub use text::parse as parse_json;

/// What the body of a message holds.
pub(super) struct Body {
    pub(super) args: Vec<Value>,
    pub(super) kwargs: Map<String, Value>,
    pub(super) embed: Embed,
}

impl Body {
    fn new(args: Value, kwargs: Value, mut embed: Map<String, Value>) -> Result<Self, BadMessage> {
        let args = match args {
            Value::Null => Vec::new(),
            Value::Array(args) => args,
            _ => return Err(BadMessage::new("shape", "args is no array")),
        };
        let kwargs = match kwargs {
            Value::Null => Map::new(),
            Value::Object(kwargs) => kwargs,
            _ => return Err(BadMessage::new("shape", "kwargs is no object")),
        };
        let embed = Embed {
            callbacks: signatures(&mut embed, "callbacks")?,
            errbacks: signatures(&mut embed, "errbacks")?,
            chain: signatures(&mut embed, "chain")?,
            chord: signatures(&mut embed, "chord")?.into_iter().next(),
        };
        Ok(Self { args, kwargs, embed })
    }
}

impl Request {
    /// As [`Request::read`], of a message that is still needed.
    ///
    /// # Errors
    /// As [`Request::read`].
    pub fn decode(message: &TaskMessage) -> Result<Self, BadMessage> {
        Self::read(message.clone())
    }

    /// Reads a message as a Celery worker does (`celery/worker/strategy.py`): a `task` header makes it
    /// protocol 2, with a body `[args, kwargs, embed]`, or a hybrid, with a body that is an object; no
    /// such header makes it protocol 1, with everything in the body. JSON and MessagePack are read,
    /// plain or in zlib or zstd; a bare `NaN` or `Infinity` becomes null; pickle is never read.
    ///
    /// # Errors
    /// [`BadMessage`] when a member has the wrong type or a limit is passed. The reason never quotes
    /// arguments.
    pub fn read(message: TaskMessage) -> Result<Self, BadMessage> {
        let body = match body::parse(&message) {
            Ok(body) => body,
            Err(bad) => return Err(bad.of(message.headers.get("task"))),
        };
        let TaskMessage { headers, reply_to, priority, .. } = message;
        let named = headers.get("task").is_some_and(Value::is_string);
        let (mut fields, body) = match (named, body) {
            (true, Value::Array(parts)) => (Fields::sorted(headers), protocol_2(parts)),
            (true, Value::Object(mut body)) => {
                body.extend(headers.into_iter().map(|(name, value)| (name.into_owned(), value)));
                protocol_1(body)
            }
            (false, Value::Object(mut body)) if body.get("task").is_some_and(Value::is_string) => {
                for (name, value) in headers {
                    body.entry(name.into_owned()).or_insert(value);
                }
                protocol_1(body)
            }
            (false, _) => {
                return Err(BadMessage::new(
                    "shape",
                    "no task: neither the headers nor the body name one (`task`)",
                ));
            }
            (true, _) => {
                let reason = "the body is neither [args, kwargs, embed] nor an object";
                return Err(BadMessage::new("shape", reason).of(headers.get("task")));
            }
        };
        let task = fields.task()?;
        match body.and_then(|body| fields.request(body)) {
            Ok(request) => {
                let reply_to = reply_to.filter(|queue| !queue.is_empty());
                Ok(Self { task, reply_to, priority, ..request })
            }
            Err(bad) => Err(BadMessage { task: Some(task), ..bad }),
        }
    }
}

fn protocol_2(parts: Vec<Value>) -> Result<Body, BadMessage> {
    let count = parts.len();
    let Ok([args, kwargs, embed]) = <[Value; 3]>::try_from(parts) else {
        return Err(BadMessage::new(
            "shape",
            format!("the body has {count} parts instead of [args, kwargs, embed]"),
        ));
    };
    let embed = match embed {
        Value::Null => Map::new(),
        Value::Object(embed) => embed,
        _ => return Err(BadMessage::new("shape", "the body's third part (embed) is no object")),
    };
    Body::new(args, kwargs, embed)
}

/// `merged`: all members of body and headers together.
fn protocol_1(mut merged: Map<String, Value>) -> (Fields, Result<Body, BadMessage>) {
    let args = merged.shift_remove("args").unwrap_or_default();
    let kwargs = merged.shift_remove("kwargs").unwrap_or_default();
    let mut embed = Map::new();
    for name in ["callbacks", "errbacks", "chord"] {
        if let Some(value) = merged.shift_remove(name) {
            embed.insert(name.to_owned(), value);
        }
    }
    // The older name has precedence, as in Celery.
    if let Some(group) = merged.shift_remove("taskset").filter(|group| !group.is_null()) {
        merged.insert("group".to_owned(), group);
    }
    let members = merged.into_iter().map(|(name, value)| (Cow::Owned(name), value));
    (Fields::sorted(members), Body::new(args, kwargs, embed))
}

/// One signature or a list of them; null and nothing are none.
fn signatures(
    embed: &mut Map<String, Value>,
    name: &'static str,
) -> Result<Vec<Signature>, BadMessage> {
    let list = match embed.shift_remove(name).unwrap_or_default() {
        Value::Null => return Ok(Vec::new()),
        Value::Array(list) => list,
        one => vec![one],
    };
    list.into_iter()
        .map(|one| {
            Signature::from_value(one)
                .map_err(|reason| BadMessage::new("shape", format!("{name}: {reason}")))
        })
        .collect()
}

#[cfg(test)]
mod tests;
