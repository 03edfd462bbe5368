//! Commands that only look: what `celery inspect` asks. Pure reads of the shared state.

use serde_json::{Map, Value, json};

use super::arguments::{Arguments, Refusal};
use super::panel::Panel;
use super::{descriptions, system};
use crate::fleet::View;

/// Attributes that `registered` shows unless others are asked for.
const TASK_ATTRIBUTES: [&str; 3] = ["exchange", "routing_key", "rate_limit"];
/// Most items of one list: a reply must fit a message.
const ITEMS_MAX: usize = 10_000;

/// Answers a command that only looks. None: there is none of that name.
pub(super) fn answer(panel: &Panel, arguments: Arguments<'_>) -> Option<Result<Value, Refusal>> {
    let state = &panel.state;
    let items = |views: Vec<View>, safe| {
        let items = views.iter().take(ITEMS_MAX).map(|view| descriptions::item(panel, view, safe));
        Value::Array(items.collect())
    };
    Some(Ok(match arguments.method {
        "ping" => json!({"ok": "pong"}),
        "clock" => json!({"clock": panel.logical()}),
        "active" | "dump_active" => items(state.active(), arguments.flag("safe")),
        "reserved" | "dump_reserved" => items(state.reserved(), false),
        "scheduled" | "dump_schedule" => {
            let views = state.scheduled();
            let all = views.iter().take(ITEMS_MAX).map(|view| descriptions::scheduled(panel, view));
            Value::Array(all.collect())
        }
        "revoked" | "dump_revoked" => json!(state.revoked()),
        "registered" | "dump_tasks" => registered(panel, arguments),
        "active_queues" => {
            let queues = state.consuming().queues;
            Value::Array(queues.iter().map(|name| descriptions::queue(name)).collect())
        }
        "stats" => stats(panel),
        "conf" | "dump_conf" => panel.conf.clone(),
        "query_task" => return Some(query(panel, arguments)),
        "hello" => return Some(hello(panel, arguments)),
        "report" => json!({"ok": report(panel)}),
        _ => return None,
    }))
}

fn registered(panel: &Panel, arguments: Arguments<'_>) -> Value {
    let wanted = match arguments.get("taskinfoitems") {
        Some(Value::Array(items)) if !items.is_empty() => {
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => TASK_ATTRIBUTES.map(str::to_owned).to_vec(),
    };
    let builtins = arguments.flag("builtins");
    let shown = panel.tasks.iter().filter(|(name, _)| builtins || !name.starts_with("celery."));
    Value::Array(
        shown.map(|(name, task)| json!(descriptions::task(panel, name, task, &wanted))).collect(),
    )
}

fn query(panel: &Panel, arguments: Arguments<'_>) -> Result<Value, Refusal> {
    let ids: std::collections::HashSet<String> = arguments.texts("ids")?.into_iter().collect();
    let state = &panel.state;
    let mut found = Map::new();
    // The last state wins: a request may move on between two reads.
    for (name, views) in [
        ("ready", state.recent()),
        ("scheduled", state.scheduled()),
        ("reserved", state.reserved()),
        ("active", state.active()),
    ] {
        for view in views.iter().filter(|view| ids.contains(&view.seen.request.id)) {
            let item = descriptions::item(panel, view, false);
            found.insert(view.seen.request.id.clone(), json!([name, item]));
        }
    }
    Ok(Value::Object(found))
}

/// What a Python worker asks at its start: it gets what is revoked here and tells what is revoked there.
fn hello(panel: &Panel, arguments: Arguments<'_>) -> Result<Value, Refusal> {
    if arguments.text("from_node")? == panel.node {
        return Ok(Value::Null);
    }
    // A list since 5.7, a map from id to time before.
    let told: Vec<String> = match arguments.get("revoked") {
        Some(Value::Array(ids)) => {
            ids.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(Value::Object(ids)) => ids.keys().cloned().collect(),
        _ => Vec::new(),
    };
    if !told.is_empty() {
        panel.state.revoke(&told, None);
    }
    Ok(json!({"revoked": panel.state.revoked(), "clock": panel.tick()}))
}

fn stats(panel: &Panel) -> Value {
    let state = &panel.state;
    let pool = state.pool();
    let mut stats = json!({
        "total": state.totals(),
        "pid": panel.pid,
        "clock": panel.logical().to_string(),
        "uptime": uptime(panel),
        "pool": {
            "implementation": "tradewind", "max-concurrency": pool.size(),
            "processes": [panel.pid], "max-tasks-per-child": "N/A",
            "put-guarded-by-semaphore": false, "timeouts": [0, 0], "busy": pool.busy(),
        },
        "broker": panel.broker,
        "prefetch_count": state.consuming().prefetch,
        "rusage": system::rusage(),
    });
    if let Some(range) = panel.range() {
        stats["autoscaler"] = json!({
            "max": range.max, "min": range.min, "current": pool.size(), "qty": pool.busy(),
        });
    }
    stats
}

fn uptime(panel: &Panel) -> i64 {
    panel.clock.now().duration_since(panel.started).as_secs().max(0)
}

fn report(panel: &Panel) -> String {
    let queues = panel.state.consuming().queues.join(", ");
    format!(
        "\nsoftware -> tradewind:{} (Celery protocol 2)\nplatform -> system:{} arch:{}\n\
         node     -> {}\nqueues   -> {queues}\nslots    -> {}\nuptime   -> {} s\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        panel.node,
        panel.state.pool().size(),
        uptime(panel),
    )
}
