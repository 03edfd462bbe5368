//! Typed looks at the members of a request, wherever the protocol keeps them.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::{BadMessage, Body};
use crate::celery::Request;
use crate::celery::repr::{args_repr, kwargs_repr};
use crate::headers::Headers;
use crate::limits::HEADERS_MAX;
use crate::names;

/// Most characters of a task name or id: what Celery's database backend can store is shorter.
const NAME_BYTES_MAX: usize = 1024;

/// The members that a request is made of, sorted out of all others in one pass.
#[derive(Debug, Default)]
pub(super) struct Fields {
    task: Value,
    id: Value,
    retries: Value,
    eta: Value,
    expires: Value,
    group: Value,
    group_index: Value,
    timelimit: Value,
    root_id: Value,
    parent_id: Value,
    argsrepr: Value,
    kwargsrepr: Value,
    origin: Value,
    ignore_result: Value,
    /// Members that are not ours to read.
    rest: Headers,
}

impl Fields {
    /// No name may be there twice.
    pub(super) fn sorted(all: impl IntoIterator<Item = (Cow<'static, str>, Value)>) -> Self {
        let mut fields = Self::default();
        for (name, value) in all {
            let place = match &*name {
                "task" => &mut fields.task,
                "id" => &mut fields.id,
                "retries" => &mut fields.retries,
                "eta" => &mut fields.eta,
                "expires" => &mut fields.expires,
                "group" => &mut fields.group,
                "group_index" => &mut fields.group_index,
                "timelimit" => &mut fields.timelimit,
                "root_id" => &mut fields.root_id,
                "parent_id" => &mut fields.parent_id,
                "argsrepr" => &mut fields.argsrepr,
                "kwargsrepr" => &mut fields.kwargsrepr,
                "origin" => &mut fields.origin,
                "ignore_result" => &mut fields.ignore_result,
                name if is_spent(name) => continue,
                _ => {
                    fields.rest.push(name, value);
                    continue;
                }
            };
            *place = value;
        }
        fields
    }

    /// The task's name, which is no longer among them.
    pub(super) fn task(&mut self) -> Result<String, BadMessage> {
        required("task", std::mem::take(&mut self.task))
    }

    /// The request that they make, without its name, with these parts of its body.
    pub(super) fn request(self, body: Body) -> Result<Request, BadMessage> {
        if self.rest.len() > HEADERS_MAX {
            let reason =
                format!("{} headers of its own; {HEADERS_MAX} are allowed", self.rest.len());
            return Err(BadMessage::new("header", reason));
        }
        let (time_limit, soft_time_limit) = time_limits(&self.timelimit)?;
        let argsrepr = text("argsrepr", self.argsrepr)?;
        let kwargsrepr = text("kwargsrepr", self.kwargsrepr)?;
        Ok(Request {
            id: required("id", self.id)?,
            task: String::new(),
            argsrepr: argsrepr.unwrap_or_else(|| args_repr(&body.args)),
            kwargsrepr: kwargsrepr.unwrap_or_else(|| kwargs_repr(&body.kwargs)),
            args: body.args,
            kwargs: body.kwargs,
            embed: body.embed,
            root_id: text("root_id", self.root_id)?,
            parent_id: text("parent_id", self.parent_id)?,
            group: text("group", self.group)?,
            group_index: integer("group_index", &self.group_index)?,
            retries: retries(&self.retries)?,
            eta: time("eta", &self.eta)?,
            expires: time("expires", &self.expires)?,
            time_limit,
            soft_time_limit,
            ignore_result: flag("ignore_result", &self.ignore_result)?,
            reply_to: None,
            origin: text("origin", self.origin)?,
            priority: 0,
            headers: self.rest,
        })
    }
}

/// Whether a member says how this message was packed, or was read from its body.
fn is_spent(name: &str) -> bool {
    matches!(
        name,
        "args"
            | "kwargs"
            | "taskset"
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

fn wrong(name: &str, wanted: &str) -> BadMessage {
    BadMessage::new("header", format!("{name} is not {wanted}"))
}

/// A text that must be there.
fn required(name: &str, value: Value) -> Result<String, BadMessage> {
    match text(name, value)? {
        Some(text) if !text.is_empty() && text.len() <= NAME_BYTES_MAX => Ok(text),
        Some(_) => Err(wrong(name, &format!("a text of 1 to {NAME_BYTES_MAX} bytes"))),
        None => Err(BadMessage::new("header", format!("{name} is missing"))),
    }
}

fn text(name: &str, value: Value) -> Result<Option<String>, BadMessage> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(wrong(name, "a text")),
    }
}

fn integer(name: &str, value: &Value) -> Result<Option<i64>, BadMessage> {
    match value {
        Value::Null => Ok(None),
        value => value.as_i64().map(Some).ok_or_else(|| wrong(name, "a whole number")),
    }
}

fn retries(value: &Value) -> Result<u32, BadMessage> {
    let count = integer("retries", value)?.unwrap_or(0);
    u32::try_from(count).map_err(|_| wrong("retries", "a count"))
}

fn flag(name: &str, value: &Value) -> Result<bool, BadMessage> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        _ => Err(wrong(name, "true or false")),
    }
}

/// ISO 8601; without an offset it is UTC, as Celery reads it.
fn time(name: &str, value: &Value) -> Result<Option<Timestamp>, BadMessage> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => {
            parse_time(text).map(Some).ok_or_else(|| wrong(name, "an ISO 8601 time"))
        }
        _ => Err(wrong(name, "a text")),
    }
}

/// `[hard, soft]`, in this order, each seconds or null.
fn time_limits(value: &Value) -> Result<(Option<f64>, Option<f64>), BadMessage> {
    let bad = || wrong("timelimit", "[seconds or null, seconds or null]");
    let [hard, soft] = match value {
        Value::Null => return Ok((None, None)),
        Value::Array(limits) => <&[Value; 2]>::try_from(limits.as_slice()).map_err(|_| bad())?,
        _ => return Err(bad()),
    };
    let seconds = |value: &Value| match value {
        Value::Null => Ok(None),
        other => other.as_f64().filter(|seconds| *seconds >= 0.0).map(Some).ok_or_else(bad),
    };
    Ok((seconds(hard)?, seconds(soft)?))
}

/// ISO 8601; without an offset it is UTC.
pub(in crate::celery) fn parse_time(text: &str) -> Option<Timestamp> {
    let civil = || {
        let at = text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?;
        Some(at.timestamp())
    };
    text.parse::<Timestamp>().ok().or_else(civil)
}
