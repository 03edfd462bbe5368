//! Signatures with ids → requests that are sent now.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::super::decode::parse_time;
use super::super::{Embed, Request, Signature};
use super::flatten::append;
use super::freeze::count;
use super::{Applied, Plan, Planned, signatures};
use crate::headers::Headers;

/// `chain`: what follows, last element first.
pub(super) fn send(
    mut signature: Signature,
    mut chain: Vec<Signature>,
    applied: &Applied,
    plan: &mut Plan,
) -> Result<(), String> {
    match signature.subtask_type.as_deref() {
        Some("chain") => {
            let mut steps = signatures(&mut signature.kwargs, "tasks")?.into_iter();
            let Some(first) = steps.next() else { return Ok(()) };
            chain.extend(steps.rev());
            send(first, chain, applied, plan)
        }
        Some("group") => {
            for member in signatures(&mut signature.kwargs, "tasks")? {
                send(member, chain.clone(), applied, plan)?;
            }
            Ok(())
        }
        Some("chord") => chord(signature, &chain, applied, plan),
        _ => {
            plan.sends.push(task(signature, chain, applied)?);
            Ok(())
        }
    }
}

fn chord(
    mut signature: Signature,
    chain: &[Signature],
    applied: &Applied,
    plan: &mut Plan,
) -> Result<(), String> {
    let header = signature.kwargs.get("header");
    let group =
        header.and_then(|header| header.pointer("/options/task_id")).and_then(Value::as_str);
    let group = group.ok_or("a chord's header has no id")?.to_owned();
    let body = signature.kwargs.remove("body").unwrap_or_default();
    let mut body = Signature::from_value(body)?;
    let members = signatures(&mut signature.kwargs, "header")?;
    if members.is_empty() {
        // Nothing will ever complete it.
        let mut line = super::flatten::flatten(body, 0)?;
        super::flatten::prefix(&mut line, &[json!([])]);
        let mut known_ids = String::new;
        let (steps, _) = super::freeze::freeze(line, &mut known_ids);
        let (mut steps, mut chain) = (steps.into_iter(), chain.to_vec());
        let Some(first) = steps.next() else { return Ok(()) };
        chain.extend(steps.rev());
        return send(first, chain, applied, plan);
    }
    follow(&mut body, chain);
    plan.joins.push((group, members.iter().map(count).sum()));
    let body = body.to_value();
    for mut member in members {
        attach(&mut member, &body);
        send(member, Vec::new(), applied, plan)?;
    }
    Ok(())
}

/// Hands the rest of the chain to a chord's body.
fn follow(body: &mut Signature, chain: &[Signature]) {
    if chain.is_empty() {
        return;
    }
    let own = body.options.remove("chain").unwrap_or_default();
    body.options.insert("chain".to_owned(), json!(chain));
    append(&mut body.options, "chain", &own);
}

/// Tells those that count as parts which body waits for them.
fn attach(member: &mut Signature, body: &Value) {
    let kwargs = &mut member.kwargs;
    match member.subtask_type.as_deref() {
        Some("chain") => {
            let tasks = kwargs.get_mut("tasks").and_then(Value::as_array_mut);
            attach_value(tasks.and_then(|tasks| tasks.last_mut()), body);
        }
        Some("group") => {
            let tasks = kwargs.get_mut("tasks").and_then(Value::as_array_mut);
            for task in tasks.into_iter().flatten() {
                attach_value(Some(task), body);
            }
        }
        Some("chord") => attach_value(kwargs.get_mut("body"), body),
        _ => {
            member.options.insert("chord".to_owned(), body.clone());
        }
    }
}

fn attach_value(slot: Option<&mut Value>, body: &Value) {
    if let Some(slot) = slot
        && let Ok(mut inner) = Signature::from_value(slot.clone())
    {
        attach(&mut inner, body);
        *slot = inner.to_value();
    }
}

fn task(
    mut signature: Signature,
    mut chain: Vec<Signature>,
    applied: &Applied,
) -> Result<Planned, String> {
    let mut options = Options(std::mem::take(&mut signature.options));
    let id = options.text("task_id").ok_or("a task has no id")?;
    chain.extend(options.signatures("chain")?);
    let priority = options.number("priority").or(applied.priority.map(f64::from));
    let priority = priority.map(|priority| priority.clamp(0.0, 255.0) as u8);
    let (root_id, parent_id) = (options.text("root_id"), options.text("parent_id"));
    let embed = Embed {
        callbacks: options.signatures("link")?,
        errbacks: options.signatures("link_error")?,
        chord: options.signatures("chord")?.into_iter().next(),
        chain,
    };
    let request = Request {
        root_id: applied.root_id.clone().or(root_id).or_else(|| Some(id.clone())),
        parent_id: applied.parent_id.clone().or(parent_id),
        group: options.text("group_id"),
        group_index: options.number("group_index").map(|index| index as i64),
        eta: options.time("countdown", "eta", applied.now)?,
        expires: options.time("expires", "expires", applied.now)?,
        time_limit: options.number("time_limit"),
        soft_time_limit: options.number("soft_time_limit"),
        ignore_result: options.take("ignore_result") == Some(json!(true)),
        reply_to: options.text("reply_to").or_else(|| applied.reply_to.clone()),
        origin: applied.origin.clone(),
        priority: priority.unwrap_or(0),
        headers: options.headers(),
        embed,
        args: signature.args,
        kwargs: signature.kwargs,
        ..Request::new(signature.task, id)
    };
    Ok(Planned {
        request,
        queue: options.text("queue"),
        exchange: options.text("exchange"),
        routing_key: options.text("routing_key"),
        priority,
    })
}

/// Options of a signature, taken one by one. Those that remain (`serializer`, `retry_policy`, …) mean
/// nothing here.
struct Options(Map<String, Value>);

impl Options {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn number(&mut self, name: &str) -> Option<f64> {
        self.take(name)?.as_f64()
    }

    fn signatures(&mut self, name: &str) -> Result<Vec<Signature>, String> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.into_iter().map(Signature::from_value).collect(),
            Some(one) => Ok(vec![Signature::from_value(one)?]),
        }
    }

    /// Seconds from now, or an ISO 8601 time.
    fn time(
        &mut self,
        seconds: &str,
        absolute: &str,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, String> {
        let value = self.take(seconds).or_else(|| self.take(absolute));
        let at = match &value {
            None => return Ok(None),
            Some(Value::Number(number)) => number
                .as_f64()
                .and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok())
                .and_then(|wait| now.checked_add(wait).ok()),
            Some(Value::String(text)) => parse_time(text),
            Some(_) => None,
        };
        at.map(Some)
            .ok_or_else(|| format!("option {absolute} is neither seconds nor an ISO 8601 time"))
    }

    /// `headers`, `shadow` and stamps.
    fn headers(&mut self) -> Headers {
        let mut headers = match self.take("headers") {
            Some(Value::Object(headers)) => Headers::from(headers),
            _ => Headers::new(),
        };
        for name in ["shadow", "replaced_task_nesting"] {
            if let Some(value) = self.take(name) {
                headers.insert(name, value);
            }
        }
        if let Some(Value::Array(stamped)) = self.take("stamped_headers") {
            let names = stamped.iter().filter_map(Value::as_str);
            let stamps: Map<String, Value> =
                names.filter_map(|name| Some((name.to_owned(), self.0.remove(name)?))).collect();
            headers.insert("stamped_headers", Value::Array(stamped));
            headers.insert("stamps", Value::Object(stamps));
        }
        headers
    }
}
