//! Every command's answer on a state with something in it.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};
use tradewind_proto::celery::{Request, state};
use tradewind_proto::clock::{Clock as _, SystemClock};

use super::control::{Answer, Effect};
use super::dispatch;
use super::panel::Panel;
use super::{Range, scrub};
use crate::fleet::{FleetState, Seen, Stop, StopReason, Tasks, stamp_key};

fn seen(id: &str) -> Arc<Seen> {
    let mut request = Request { args: vec![json!(2)], ..Request::new("proj.add", id) };
    request.argsrepr = "(2,)".to_owned();
    request.headers.insert("stamps", json!({"tenant": [format!("of-{id}")]}));
    Arc::new(Seen { request, queue: "q".into(), redelivered: false, received: SystemClock.now() })
}

/// A worker that runs `active`, holds `reserved`, has postponed `later` and ended `done`.
fn panel() -> (Panel, Stop) {
    let fleet = FleetState::new(Arc::new(SystemClock), vec!["q".to_owned()], 4);
    let stop = Stop::default();
    let done = fleet.received(&seen("done"));
    fleet.started(done, &Stop::default(), true);
    fleet.ended(done, state::SUCCESS);
    let active = fleet.received(&seen("active"));
    fleet.started(active, &stop, false);
    fleet.received(&seen("reserved"));
    let later = fleet.received(&seen("later"));
    let due = SystemClock.now() + jiff::SignedDuration::from_hours(1);
    fleet.gave_back(later, Some(due));
    let mut tasks = Tasks::default();
    tasks.add_raw("proj.add", |_context| std::future::ready(Ok(Value::Null)).boxed());
    tasks.add_raw("celery.accumulate", |_context| std::future::ready(Ok(Value::Null)).boxed());
    let panel = Panel {
        node: "celery@box".to_owned(),
        pid: 4711,
        started: SystemClock.now(),
        clock: Arc::new(SystemClock),
        state: Arc::new(fleet),
        tasks,
        conf: scrub(json!({"broker_url": "redis://:geheim@h/0", "task_acks_late": true})),
        broker: scrub(json!({"transport": "redis", "hostname": "h", "password": "geheim"})),
        task_events: watch::Sender::new(false),
        beat: Notify::new(),
        logical: AtomicU64::new(7),
        range: Mutex::new(None),
        dropped: AtomicU64::new(0),
    };
    (panel, stop)
}

fn full(panel: &Panel, method: &str, arguments: Value) -> Answer {
    let arguments: Map<String, Value> = serde_json::from_value(arguments).expect("arguments");
    dispatch::answer(panel, method, &arguments)
}

fn ask(panel: &Panel, method: &str, arguments: Value) -> Value {
    full(panel, method, arguments).0.expect("an answer")
}

fn ids(value: &Value) -> Vec<&str> {
    value.as_array().expect("list").iter().map(|item| item["id"].as_str().expect("id")).collect()
}

#[test]
fn requests_are_shown_where_they_are() {
    let (panel, _stop) = panel();
    let active = ask(&panel, "active", json!({}));
    let started = active[0]["time_start"].clone();
    assert!(started.as_f64().is_some_and(|at| at > 1.7e9), "{started}");
    let expected = json!([{
        "id": "active", "name": "proj.add", "args": [2], "kwargs": {}, "type": "proj.add",
        "hostname": "celery@box", "time_start": started, "acknowledged": false,
        "delivery_info": {"exchange": "", "routing_key": "q", "priority": 0, "redelivered": false},
        "worker_pid": 4711,
    }]);
    assert_eq!(active, expected);
    assert_eq!(ask(&panel, "active", json!({"safe": true}))[0]["args"], "(2,)");
    let reserved = ask(&panel, "reserved", json!({}));
    assert_eq!((ids(&reserved), &reserved[0]["time_start"]), (vec!["reserved"], &Value::Null));
    let scheduled = ask(&panel, "scheduled", json!({}));
    assert_eq!(
        (&scheduled[0]["priority"], &scheduled[0]["request"]["id"]),
        (&json!(6), &json!("later"))
    );
    assert!(scheduled[0]["eta"].as_str().is_some_and(|eta| eta.ends_with("+00:00")));
    let all = ["active", "reserved", "later", "done", "unknown"];
    let found = ask(&panel, "query_task", json!({"ids": all}));
    let states = all[..4].iter().map(|id| found[id][0].as_str().expect("state"));
    assert_eq!(states.collect::<Vec<_>>(), ["active", "reserved", "scheduled", "ready"]);
    assert_eq!(found.as_object().map(Map::len), Some(4));
    assert_eq!(ask(&panel, "query_task", json!({"ids": "done"}))["done"][1]["id"], "done");
    for (alias, method) in [("dump_active", "active"), ("dump_reserved", "reserved")] {
        assert_eq!(ask(&panel, alias, json!({})), ask(&panel, method, json!({})));
    }
}

#[test]
fn the_worker_is_described_without_credentials() {
    let (panel, _stop) = panel();
    assert_eq!(ask(&panel, "ping", json!({})), json!({"ok": "pong"}));
    assert_eq!(ask(&panel, "clock", json!({})), json!({"clock": 7}));
    let stats = ask(&panel, "stats", json!({}));
    assert_eq!(stats["total"], json!({"proj.add": 4}));
    assert_eq!(
        (&stats["pid"], &stats["clock"], &stats["prefetch_count"]),
        (&json!(4711), &json!("7"), &json!(4))
    );
    let pool = &stats["pool"];
    assert_eq!((&pool["max-concurrency"], &pool["processes"]), (&json!(4), &json!([4711])));
    for member in ["implementation", "max-tasks-per-child", "put-guarded-by-semaphore", "timeouts"]
    {
        assert!(pool.get(member).is_some(), "{member}");
    }
    assert!(
        stats["uptime"].is_i64()
            && stats["rusage"]["maxrss"].is_i64()
            && stats.get("autoscaler").is_none()
    );
    let conf = ask(&panel, "conf", json!({"with_defaults": false}));
    assert_eq!(
        (&conf["task_acks_late"], &conf["broker_url"]),
        (&json!(true), &json!("redis://:**@h/0"))
    );
    assert!(!format!("{stats}{conf}").contains("geheim"));
    assert_eq!(ask(&panel, "registered", json!({})), json!(["proj.add", "tradewind.noop"]));
    let told = ask(&panel, "registered", json!({"taskinfoitems": ["acks_late"], "builtins": true}));
    assert_eq!(told[0], "celery.accumulate [acks_late=True]");
    let queues = ask(&panel, "active_queues", json!({}));
    assert_eq!(
        (&queues[0]["name"], &queues[0]["exchange"]["type"]),
        (&json!("q"), &json!("direct"))
    );
    for member in [
        "routing_key",
        "queue_arguments",
        "binding_arguments",
        "consumer_arguments",
        "durable",
        "exclusive",
        "auto_delete",
        "no_ack",
        "alias",
        "bindings",
        "no_declare",
        "expires",
        "message_ttl",
        "max_length",
        "max_length_bytes",
        "max_priority",
    ] {
        assert!(queues[0].get(member).is_some(), "{member}");
    }
    let report = ask(&panel, "report", json!({}));
    assert!(report["ok"].as_str().is_some_and(|text| text.contains("celery@box")), "{report}");
}

#[test]
fn mingling_workers_tell_what_is_revoked() {
    let (panel, _stop) = panel();
    let told = ask(&panel, "hello", json!({"from_node": "celery@other", "revoked": {"old": 1.5}}));
    assert_eq!((&told["revoked"], &told["clock"]), (&json!(["old"]), &json!(8)));
    ask(&panel, "hello", json!({"from_node": "celery@other", "revoked": ["new"]}));
    assert_eq!(ask(&panel, "revoked", json!({})), json!(["old", "new"]));
    assert_eq!(
        ask(&panel, "hello", json!({"from_node": "celery@box", "revoked": []})),
        Value::Null
    );
}

#[test]
fn tasks_are_revoked_and_terminated() {
    let (panel, stop) = panel();
    let (value, effect) = full(&panel, "revoke", json!({"task_id": "active"}));
    assert_eq!(value, Some(json!({"ok": "tasks {'active'} flagged as revoked"})));
    assert_eq!(effect, Some(Effect::Revoke { ids: vec!["active".to_owned()], terminate: false }));
    assert_eq!(stop.reason(), None);
    let value = ask(
        &panel,
        "revoke",
        json!({"task_id": ["b", "a"], "terminate": false, "signal": "SIGTERM"}),
    );
    assert_eq!(value, json!({"ok": "tasks {'a', 'b'} flagged as revoked"}));
    let value = ask(&panel, "revoke", json!({"task_id": ["unknown"], "terminate": true}));
    assert_eq!(value, json!({"ok": "terminate: tasks unknown"}));
    let (value, effect) =
        full(&panel, "terminate", json!({"signal": "KILL", "task_id": ["active"]}));
    assert_eq!(value, Some(json!({"ok": "terminate: active"})));
    assert_eq!(effect, Some(Effect::Revoke { ids: vec!["active".to_owned()], terminate: true }));
    assert_eq!(stop.reason(), Some(StopReason::Terminated(9)));
    let value =
        ask(&panel, "revoke", json!({"task_id": "x", "terminate": true, "signal": "SIGFOO"}));
    assert!(value["error"].as_str().is_some_and(|text| text.contains("SIGFOO")), "{value}");
}

#[test]
fn stamped_tasks_are_revoked_by_their_stamps() {
    let (panel, stop) = panel();
    let (value, effect) = full(
        &panel,
        "revoke_by_stamped_headers",
        json!({"headers": {"tenant": ["of-reserved", "none"]}}),
    );
    let text = "headers {'tenant': ['of-reserved', 'none']} flagged as revoked, but not terminated";
    assert_eq!(value, Some(json!({"ok": text})));
    // Beside what is here, the stamps themselves: for what comes later, here or elsewhere.
    let stamps = ["of-reserved", "none"].map(|value| stamp_key("tenant", value));
    let Some(Effect::Revoke { mut ids, terminate: false }) = effect else { panic!("{effect:?}") };
    ids.sort();
    let mut expected = [&stamps[..], &["reserved".to_owned()]].concat();
    expected.sort();
    assert_eq!(ids, expected);
    assert!(panel.state.is_revoked(&stamps[1]) && !panel.state.revoked().contains(&stamps[1]));
    let terminate = json!({"headers": ["tenant=of-active"], "terminate": true});
    let value = ask(&panel, "revoke_by_stamped_headers", terminate);
    assert_eq!(value, json!({"ok": "headers {'tenant': ['of-active']} revoked"}));
    assert_eq!(stop.reason(), Some(StopReason::Terminated(15)));
    let value =
        ask(&panel, "revoke_by_stamped_headers", json!({"headers": {"x": 1}, "terminate": true}));
    assert_eq!(value, json!({"ok": "headers {'x': ['1']} were not terminated"}));
}

#[test]
fn limits_are_changed_for_known_tasks() {
    let (panel, _stop) = panel();
    let rate = |task: &str, rate: Value| {
        ask(&panel, "rate_limit", json!({"task_name": task, "rate_limit": rate}))
    };
    assert_eq!(rate("proj.add", json!("10/m")), json!({"ok": "new rate limit set successfully"}));
    assert_eq!(ask(&panel, "registered", json!({}))[0], "proj.add [rate_limit=10/m]");
    assert_eq!(rate("none", json!("10/m")), json!({"error": "unknown task"}));
    assert!(
        rate("proj.add", json!("often"))["error"]
            .as_str()
            .is_some_and(|t| t.starts_with("Invalid rate"))
    );
    for off in [json!(0), json!(""), json!("0/m"), json!("0"), json!(null)] {
        assert_eq!(rate("proj.add", off), json!({"ok": "rate limit disabled successfully"}));
    }
    let time =
        |task: &str| ask(&panel, "time_limit", json!({"task_name": task, "soft": 1, "hard": 2.5}));
    assert_eq!(time("proj.add"), json!({"ok": "time limits set successfully"}));
    assert_eq!(time("none"), json!({"error": "unknown task"}));
    let hard = panel.state.limits("proj.add").hard;
    assert_eq!(hard, Some(Some(std::time::Duration::from_millis(2500))));
}

#[test]
fn slots_and_queues_are_changed() {
    let (panel, _stop) = panel();
    assert_eq!(ask(&panel, "pool_grow", json!({"n": 3})), json!({"ok": "pool will grow"}));
    assert_eq!(ask(&panel, "pool_shrink", json!({})), json!({"ok": "pool will shrink"}));
    assert_eq!(panel.state.pool().size(), 6);
    assert!(ask(&panel, "pool_shrink", json!({"n": 6}))["error"].is_string());
    assert!(
        ask(&panel, "pool_restart", json!({}))["error"]
            .as_str()
            .is_some_and(|t| t.contains("not enabled"))
    );
    let refused = json!({"error": "ValueError('Autoscale not enabled')"});
    assert_eq!(ask(&panel, "autoscale", json!({"max": 5, "min": 2})), refused);
    panel.set_range(Range { max: 10, min: 1 });
    assert_eq!(
        ask(&panel, "autoscale", json!({"max": 5, "min": 2})),
        json!({"ok": "autoscale now max=5 min=2"})
    );
    assert_eq!(
        ask(&panel, "autoscale", json!({"max": 8})),
        json!({"ok": "autoscale now max=8 min=2"})
    );
    assert!(ask(&panel, "autoscale", json!({"max": 1}))["error"].is_string());
    assert!(
        ask(&panel, "pool_grow", json!({}))["error"]
            .as_str()
            .is_some_and(|t| t.contains("autoscale"))
    );
    assert_eq!(ask(&panel, "stats", json!({}))["autoscaler"]["max"], 8);
    assert_eq!(
        ask(&panel, "add_consumer", json!({"queue": "mail"})),
        json!({"ok": "add consumer mail"})
    );
    assert_eq!(panel.state.consuming().queues, ["q", "mail"]);
    let odd = ask(&panel, "add_consumer", json!({"queue": "x", "exchange": "other"}));
    assert!(odd["error"].as_str().is_some_and(|text| text.contains("other")), "{odd}");
    let gone = ask(&panel, "cancel_consumer", json!({"queue": "q"}));
    assert_eq!(gone, json!({"ok": "no longer consuming from q"}));
    assert_eq!(panel.state.consuming().queues, ["mail"]);
}

#[test]
fn events_are_switched_and_the_rest_is_answered() {
    let (panel, _stop) = panel();
    for (method, text) in [
        ("disable_events", "task events already disabled"),
        ("enable_events", "task events enabled"),
        ("enable_events", "task events already enabled"),
        ("disable_events", "task events disabled"),
    ] {
        assert_eq!(ask(&panel, method, json!({})), json!({"ok": text}));
    }
    assert_eq!(ask(&panel, "heartbeat", json!({})), Value::Null);
    assert!(panel.beat.notified().now_or_never().is_some());
    assert_eq!(full(&panel, "shutdown", json!({})), (None, Some(Effect::Shutdown)));
    assert_eq!(ask(&panel, "x", json!({})), json!({"error": "KeyError('x')"}));
    let text = "TypeError(\"rate_limit() missing 1 required positional argument: 'task_name'\")";
    assert_eq!(ask(&panel, "rate_limit", json!({})), json!({"error": text}));
}
