//! Tasks and queues as `celery inspect` prints them. Pure.

use serde_json::{Value, json};
use tradewind_proto::celery::wire_time;

use super::panel::{Panel, seconds};
use crate::fleet::{Registration, View};

/// Celery's priority of timers, which it shows for every scheduled task.
const TIMER_PRIORITY: u8 = 6;

/// One request. `safe` shows arguments as Python prints them instead of as they are.
pub(super) fn item(panel: &Panel, view: &View, safe: bool) -> Value {
    let request = &view.seen.request;
    let (args, kwargs) = match safe || request.is_hidden() {
        true => (json!(request.argsrepr), json!(request.kwargsrepr)),
        false => (json!(request.args), json!(request.kwargs)),
    };
    json!({
        "id": request.id, "name": request.task, "args": args, "kwargs": kwargs,
        "type": request.task, "hostname": panel.node,
        "time_start": view.started.map(seconds), "acknowledged": view.acknowledged,
        "delivery_info": {
            "exchange": "", "routing_key": &*view.seen.queue, "priority": request.priority,
            "redelivered": view.seen.redelivered,
        },
        "worker_pid": view.started.map(|_| panel.pid),
    })
}

/// One postponed request.
pub(super) fn scheduled(panel: &Panel, view: &View) -> Value {
    json!({
        "eta": view.due.map(wire_time), "priority": TIMER_PRIORITY,
        "request": item(panel, view, false),
    })
}

/// A queue with all the members that Celery names: the anonymous exchange leads to it by its name, but
/// Celery shows the direct exchange of the same name, and tools read that.
pub(super) fn queue(name: &str) -> Value {
    json!({
        "name": name,
        "exchange": {
            "name": name, "type": "direct", "arguments": null, "durable": true, "passive": false,
            "auto_delete": false, "delivery_mode": null, "no_declare": false,
        },
        "routing_key": name, "queue_arguments": null, "binding_arguments": null,
        "consumer_arguments": null, "durable": true, "exclusive": false, "auto_delete": false,
        "no_ack": false, "alias": null, "bindings": [], "no_declare": null, "expires": null,
        "message_ttl": null, "max_length": null, "max_length_bytes": null, "max_priority": null,
    })
}

/// A registered task: its name, with those of the wanted attributes that it has.
pub(super) fn task(panel: &Panel, name: &str, task: &Registration, wanted: &[String]) -> String {
    let options = task.options();
    let limits = panel.state.limits(name);
    let rate = limits.rate.unwrap_or(options.rate_limit).map(|rate| rate.to_string());
    let time = |set: Option<Option<std::time::Duration>>, own: Option<std::time::Duration>| {
        set.unwrap_or(own).map(|limit| limit.as_secs_f64().to_string())
    };
    let attribute = |item: &String| {
        let value = match item.as_str() {
            "rate_limit" => rate.clone(),
            "time_limit" => time(limits.hard, options.time_limit),
            "soft_time_limit" => time(limits.soft, options.soft_time_limit),
            "queue" | "routing_key" => options.queue.clone(),
            "max_retries" => Some(options.retry.max.to_string()),
            "acks_late" => Some(python_bool(options.acks_late)),
            "ignore_result" => Some(python_bool(options.ignore_result)),
            "track_started" => Some(python_bool(options.track_started)),
            "name" => Some(name.to_owned()),
            _ => None,
        };
        value.map(|value| format!("{item}={value}"))
    };
    let known: Vec<String> = wanted.iter().filter_map(attribute).collect();
    if known.is_empty() { name.to_owned() } else { format!("{name} [{}]", known.join(" ")) }
}

fn python_bool(flag: bool) -> String {
    (if flag { "True" } else { "False" }).to_owned()
}
