//! Commands that change something: what `celery control` sends.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tradewind_proto::celery::repr;
use tradewind_proto::limits::NAME_CHARS_MAX;

use super::Range;
use super::arguments::{Arguments, Refusal};
use super::panel::Panel;
use crate::CONCURRENCY_MAX;
use crate::fleet::Rate;
use crate::fleet::revoked::{stamp_key, stamp_text, stamped};

/// What is left to do after the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Tell the fleet, durably.
    Revoke { ids: Vec<String>, terminate: bool },
    /// Drain and end.
    Shutdown,
}

/// An answer, and what is left to do. No value: the command has no reply.
pub(super) type Answer = (Option<Value>, Option<Effect>);

/// Answers a command that changes something. None: there is none of that name.
pub(super) fn answer(panel: &Panel, arguments: Arguments<'_>) -> Option<Result<Answer, Refusal>> {
    let value = match arguments.method {
        "revoke" => return Some(revoke(panel, arguments, arguments.flag("terminate"))),
        "terminate" => return Some(revoke(panel, arguments, true)),
        "revoke_by_stamped_headers" => return Some(revoke_by_stamps(panel, arguments)),
        "rate_limit" => rate_limit(panel, arguments),
        "time_limit" => time_limit(panel, arguments),
        "pool_grow" => resize(panel, arguments, true),
        "pool_shrink" => resize(panel, arguments, false),
        // There are no Python modules to reload; a half-true "ok" would mislead.
        "pool_restart" => Err(Refusal::raised(
            "ValueError",
            "Pool restarts not enabled: this worker has no pool of Python processes; restart the worker",
        )),
        "autoscale" => autoscale(panel, arguments),
        "add_consumer" => add_consumer(panel, arguments),
        "cancel_consumer" => cancel_consumer(panel, arguments),
        "enable_events" => Ok(switch(panel, true)),
        "disable_events" => Ok(switch(panel, false)),
        "heartbeat" => {
            panel.beat.notify_one();
            Ok(Value::Null)
        }
        // Gossip's vote: nobody here takes part.
        "election" => Ok(Value::Null),
        "shutdown" => {
            let said = arguments.get("msg").and_then(Value::as_str);
            tracing::warn!(reason = said, "remote control asks the worker to end");
            return Some(Ok((None, Some(Effect::Shutdown))));
        }
        _ => return None,
    };
    Some(value.map(|value| (Some(value), None)))
}

fn ok(text: impl Into<String>) -> Value {
    json!({"ok": text.into()})
}

fn nok(text: impl Into<String>) -> Value {
    json!({"error": text.into()})
}

fn revoke(panel: &Panel, arguments: Arguments<'_>, terminate: bool) -> Result<Answer, Refusal> {
    let ids: BTreeSet<String> = arguments.texts("task_id")?.into_iter().collect();
    let ids: Vec<String> = ids.into_iter().collect();
    let signal = terminate.then(|| arguments.signal()).transpose()?;
    let hit = panel.state.revoke(&ids, signal.map(|signal| signal as i32));
    tracing::info!(?ids, terminate, killed = hit.len(), "tasks are revoked");
    let value = match (terminate, hit.is_empty()) {
        (false, _) if ids.is_empty() => ok("tasks set() flagged as revoked"),
        (false, _) => {
            let quoted: Vec<String> = ids.iter().map(|id| repr(&json!(id))).collect();
            ok(format!("tasks {{{}}} flagged as revoked", quoted.join(", ")))
        }
        (true, true) => ok("terminate: tasks unknown"),
        (true, false) => ok(format!("terminate: {}", hit.join(", "))),
    };
    Ok((Some(value), Some(Effect::Revoke { ids, terminate })))
}

/// Revokes what has one of these stamps: what is here now, and what comes later, to any worker.
fn revoke_by_stamps(panel: &Panel, arguments: Arguments<'_>) -> Result<Answer, Refusal> {
    let wanted = stamps(arguments)?;
    let terminate = arguments.flag("terminate");
    let signal = terminate.then(|| arguments.signal()).transpose()?;
    let state = &panel.state;
    let views = [state.active(), state.reserved(), state.scheduled()];
    let (mut ids, mut active) = (BTreeSet::new(), BTreeMap::<&str, BTreeSet<&str>>::new());
    for view in views.iter().flatten() {
        for (header, values) in &wanted {
            let has = stamped(&view.seen.request, header);
            let matching: Vec<&str> =
                values.iter().filter(|value| has.contains(value)).map(String::as_str).collect();
            if matching.is_empty() {
                continue;
            }
            ids.insert(view.seen.request.id.clone());
            if view.started.is_some() {
                active.entry(header).or_default().extend(matching);
            }
        }
    }
    for (header, values) in &wanted {
        ids.extend(values.iter().map(|value| stamp_key(header, value)));
    }
    let ids: Vec<String> = ids.into_iter().collect();
    state.revoke(&ids, signal.map(|signal| signal as i32));
    let shown = repr(&json!(wanted));
    let text = match (terminate, active.is_empty()) {
        (false, _) => format!("headers {shown} flagged as revoked, but not terminated"),
        (true, true) => format!("headers {shown} were not terminated"),
        (true, false) => format!("headers {} revoked", repr(&json!(active))),
    };
    let effect = (!ids.is_empty()).then_some(Effect::Revoke { ids, terminate });
    Ok((Some(ok(text)), effect))
}

/// `{"header": value or list}`, or `["header=value"]` as the command line sends it.
fn stamps(arguments: Arguments<'_>) -> Result<BTreeMap<String, Vec<String>>, Refusal> {
    let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    match arguments.need("headers")? {
        Value::Object(headers) => {
            for (header, value) in headers {
                let values = match value {
                    Value::Array(many) => many.iter().map(stamp_text).collect(),
                    one => vec![stamp_text(one)],
                };
                wanted.insert(header.clone(), values);
            }
        }
        Value::Array(pairs) => {
            for pair in pairs.iter().map(stamp_text) {
                let Some((header, value)) = pair.split_once('=') else {
                    return Err(Refusal::raised("IndexError", "list index out of range"));
                };
                wanted.entry(header.to_owned()).or_default().push(value.to_owned());
            }
        }
        _ => {
            return Err(Refusal::raised(
                "TypeError",
                "headers must be a map or a list of key=value",
            ));
        }
    }
    Ok(wanted)
}

fn rate_limit(panel: &Panel, arguments: Arguments<'_>) -> Result<Value, Refusal> {
    let task = arguments.text("task_name")?;
    let rate = match arguments.need("rate_limit")? {
        Value::Null => None,
        Value::String(text) if text.is_empty() || text.trim_start_matches('0').starts_with('/') => {
            None
        }
        Value::String(text) if text == "0" => None,
        Value::Number(number) if number.as_f64() == Some(0.0) => None,
        value => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match text.parse::<Rate>() {
                Ok(rate) => Some(rate),
                Err(reason) => {
                    let raised = Refusal::raised("ValueError", &reason).0;
                    return Ok(nok(format!("Invalid rate limit string: {raised}")));
                }
            }
        }
    };
    if !panel.tasks.contains(task) {
        return Ok(nok("unknown task"));
    }
    panel.state.set_rate(task, rate);
    Ok(ok(match rate {
        Some(_) => "new rate limit set successfully",
        None => "rate limit disabled successfully",
    }))
}

fn time_limit(panel: &Panel, arguments: Arguments<'_>) -> Result<Value, Refusal> {
    let task = arguments.text("task_name")?;
    let (soft, hard) = (arguments.seconds("soft")?, arguments.seconds("hard")?);
    if !panel.tasks.contains(task) {
        return Ok(nok("unknown task"));
    }
    panel.state.set_time_limits(task, soft, hard);
    Ok(ok("time limits set successfully"))
}

fn resize(panel: &Panel, arguments: Arguments<'_>, grow: bool) -> Result<Value, Refusal> {
    let name = if grow { "pool_grow" } else { "pool_shrink" };
    let by = arguments.count("n")?.unwrap_or(1);
    if panel.range().is_some() {
        return Ok(nok(format!(
            "{name} is not supported with autoscale. Adjust autoscale range instead."
        )));
    }
    let size = u16::try_from(panel.state.pool().size()).unwrap_or(CONCURRENCY_MAX);
    let wanted = if grow { size.saturating_add(by) } else { size.saturating_sub(by) };
    if wanted == 0 || wanted > CONCURRENCY_MAX {
        let text = format!("{name}: {wanted} slots are not possible; use 1 to {CONCURRENCY_MAX}");
        return Err(Refusal::raised("ValueError", &text));
    }
    panel.state.resize_pool(wanted);
    Ok(ok(if grow { "pool will grow" } else { "pool will shrink" }))
}

fn autoscale(panel: &Panel, arguments: Arguments<'_>) -> Result<Value, Refusal> {
    let Some(now) = panel.range() else {
        return Err(Refusal::raised("ValueError", "Autoscale not enabled"));
    };
    let max = arguments.count("max")?.unwrap_or(now.max);
    let min = arguments.count("min")?.unwrap_or(now.min);
    if min == 0 || min > max || max > CONCURRENCY_MAX {
        let text =
            format!("autoscale: use 1 <= min <= max <= {CONCURRENCY_MAX}, not {min} and {max}");
        return Err(Refusal::raised("ValueError", &text));
    }
    panel.set_range(Range { max, min });
    Ok(ok(format!("autoscale now max={max} min={min}")))
}

fn add_consumer(panel: &Panel, arguments: Arguments<'_>) -> Result<Value, Refusal> {
    let queue = arguments.text("queue")?;
    if queue.is_empty() || queue.chars().count() > NAME_CHARS_MAX {
        let text = format!("add_consumer: a queue name has 1 to {NAME_CHARS_MAX} characters");
        return Err(Refusal::raised("ValueError", &text));
    }
    for (option, own) in [("exchange", ["", queue]), ("routing_key", ["", queue])] {
        match arguments.get(option).and_then(Value::as_str) {
            Some(value) if !own.contains(&value) => {
                return Ok(nok(format!(
                    "add_consumer: {option} {value:?} is not supported; a queue is reached by its own name"
                )));
            }
            _ => {}
        }
    }
    if panel.state.add_consumer(queue) {
        tracing::info!(queue, "a queue is consumed too");
    }
    Ok(ok(format!("add consumer {queue}")))
}

fn cancel_consumer(panel: &Panel, arguments: Arguments<'_>) -> Result<Value, Refusal> {
    let queue = arguments.text("queue")?;
    if panel.state.cancel_consumer(queue) {
        tracing::info!(queue, "a queue is not consumed any longer");
    }
    Ok(ok(format!("no longer consuming from {queue}")))
}

fn switch(panel: &Panel, on: bool) -> Value {
    let changed = panel.task_events.send_if_modified(|now| std::mem::replace(now, on) != on);
    ok(match (on, changed) {
        (true, true) => "task events enabled",
        (true, false) => "task events already enabled",
        (false, true) => "task events disabled",
        (false, false) => "task events already disabled",
    })
}
