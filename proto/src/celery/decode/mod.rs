//! A task message becomes a [`Request`]: protocol 2, protocol 1, and the hybrid of both.

mod bad;
mod body;
mod fields;
mod inflate;
mod msgpack;
mod text;

use serde_json::{Map, Value};

use super::repr::{args_repr, kwargs_repr};
use super::{Embed, Request, Signature};
use crate::message::TaskMessage;
use crate::names;
pub use bad::BadMessage;
use fields::Fields;
pub(super) use fields::parse_time;
pub use text::parse as parse_json;

/// Whether a header becomes a member of [`Request`], or says how this body was packed.
fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "task"
            | "id"
            | "args"
            | "kwargs"
            | "retries"
            | "eta"
            | "expires"
            | "group"
            | "group_index"
            | "taskset"
            | "timelimit"
            | "root_id"
            | "parent_id"
            | "argsrepr"
            | "kwargsrepr"
            | "origin"
            | "ignore_result"
            | "callbacks"
            | "errbacks"
            | "chord"
            | "chain"
            | "compression"
            | "utc"
            | "reply_to"
            | "headers"
            | "correlation_id"
            | "redelivered"
            // Of this message alone: a retry is signed again.
            | names::HEADER_SIGNATURE
    )
}

impl Request {
    /// Reads a message as a Celery worker does (`celery/worker/strategy.py`): a `task` header makes it
    /// protocol 2, with a body `[args, kwargs, embed]`, or a hybrid, with a body that is an object; no
    /// such header makes it protocol 1, with everything in the body. JSON and MessagePack are read,
    /// plain or in zlib or zstd; a bare `NaN` or `Infinity` becomes null; pickle is never read.
    ///
    /// # Errors
    /// [`BadMessage`] when a member has the wrong type or a limit is passed. The reason never quotes
    /// arguments.
    pub fn decode(message: &TaskMessage) -> Result<Self, BadMessage> {
        let body = body::parse(message)?;
        match (message.task(), body) {
            (Some(_), Value::Array(parts)) => protocol_2(message, parts),
            (Some(_), Value::Object(body)) => {
                let mut merged = body;
                merged.extend(message.headers.clone());
                protocol_1(message, merged)
            }
            (None, Value::Object(mut body)) if body.get("task").is_some_and(Value::is_string) => {
                for (name, value) in &message.headers {
                    body.entry(name.as_str()).or_insert_with(|| value.clone());
                }
                protocol_1(message, body)
            }
            (None, _) => Err(BadMessage::new(
                "shape",
                "no task: neither the headers nor the body name one (`task`)",
            )),
            (Some(_), _) => Err(BadMessage::new(
                "shape",
                "the body is neither [args, kwargs, embed] nor an object",
            )),
        }
    }
}

fn protocol_2(message: &TaskMessage, parts: Vec<Value>) -> Result<Request, BadMessage> {
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
    build(message, &Fields(&message.headers), args, kwargs, embed)
}

/// `merged`: all members of body and headers together.
fn protocol_1(
    message: &TaskMessage,
    mut merged: Map<String, Value>,
) -> Result<Request, BadMessage> {
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
    build(message, &Fields(&merged), args, kwargs, embed)
}

fn build(
    message: &TaskMessage,
    fields: &Fields<'_>,
    args: Value,
    kwargs: Value,
    mut embed: Map<String, Value>,
) -> Result<Request, BadMessage> {
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
    let (time_limit, soft_time_limit) = fields.time_limits()?;
    let argsrepr = fields.text("argsrepr")?.unwrap_or_else(|| args_repr(&args));
    let kwargsrepr = fields.text("kwargsrepr")?.unwrap_or_else(|| kwargs_repr(&kwargs));
    Ok(Request {
        id: fields.required("id")?,
        task: fields.required("task")?,
        embed: Embed {
            callbacks: signatures(&mut embed, "callbacks")?,
            errbacks: signatures(&mut embed, "errbacks")?,
            chain: signatures(&mut embed, "chain")?,
            chord: signatures(&mut embed, "chord")?.into_iter().next(),
        },
        args,
        kwargs,
        argsrepr,
        kwargsrepr,
        root_id: fields.text("root_id")?,
        parent_id: fields.text("parent_id")?,
        group: fields.text("group")?,
        group_index: fields.integer("group_index")?,
        retries: fields.retries()?,
        eta: fields.time("eta")?,
        expires: fields.time("expires")?,
        time_limit,
        soft_time_limit,
        ignore_result: fields.flag("ignore_result")?,
        reply_to: message.reply_to.clone().filter(|queue| !queue.is_empty()),
        origin: fields.text("origin")?,
        priority: message.priority,
        headers: fields
            .0
            .iter()
            .filter(|(name, _)| !is_ours(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    })
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
