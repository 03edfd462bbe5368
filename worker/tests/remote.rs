//! Events and remote control of a worker over a bus: commands in, replies and events out.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tradewind_broker::coordination::{MemoryCoordinator, Revoked};
use tradewind_broker::{
    Broker as _, ControlBus, Coordinator, EventStream, MemoryBroker, MemoryBus,
};
use tradewind_proto::celery::{ControlRequest, Event, Request};
use tradewind_proto::clock::SystemClock;
use tradewind_worker::fleet::{FleetState, Tasks};
use tradewind_worker::remote::{Range, Remote, RemoteDeps, RemoteHandle, RemoteOptions};

/// Generous: CI machines are busy.
const PATIENCE: Duration = Duration::from_secs(60);

struct Node {
    bus: MemoryBus,
    broker: MemoryBroker,
    coordinator: MemoryCoordinator,
    state: Arc<FleetState>,
    handle: RemoteHandle,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

async fn node(
    name: &str,
    bus: &MemoryBus,
    coordinator: &MemoryCoordinator,
    options: RemoteOptions,
) -> Node {
    let clock = Arc::new(SystemClock);
    let state = Arc::new(FleetState::new(clock.clone(), vec!["q".to_owned()], 4));
    let broker = MemoryBroker::new(clock.clone());
    let deps = RemoteDeps {
        node: name.to_owned(),
        bus: Arc::new(bus.clone()),
        state: Arc::clone(&state),
        tasks: Tasks::default(),
        coordinator: Some(Arc::new(coordinator.clone())),
        broker: Arc::new(broker.clone()),
        conf: json!({"broker_url": "amqp://u:geheim@h//"}),
        broker_info: json!({"transport": "memory"}),
        clock,
    };
    let remote = Remote::new(options, deps).expect("options");
    remote.prepare().await;
    let (handle, stop) = (remote.handle(), CancellationToken::new());
    let running = tokio::spawn(remote.run(stop.clone()));
    Node {
        bus: bus.clone(),
        broker,
        coordinator: coordinator.clone(),
        state,
        handle,
        stop,
        running,
    }
}

fn request(method: &str, arguments: Value) -> ControlRequest {
    let arguments: Map<String, Value> = serde_json::from_value(arguments).expect("arguments");
    ControlRequest { method: method.to_owned(), arguments, ..ControlRequest::default() }
}

impl Node {
    /// Asks until somebody answers: the mailbox opens in the background.
    async fn ask(&self, method: &str, arguments: Value) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = request(method, arguments.clone());
            let replies =
                self.bus.ask(request, Duration::from_secs(2), Some(1)).await.expect("asked");
            if let Some(reply) = replies.into_iter().next() {
                return reply.value;
            }
            assert!(Instant::now() < deadline, "no answer to {method}");
        }
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.running).await.expect("ends").expect("no panic");
    }
}

/// The next event that fits.
async fn event(stream: &mut Box<dyn EventStream>, fits: impl Fn(&Event) -> bool) -> Event {
    let search = async {
        loop {
            let events = stream.next().await.expect("events");
            if let Some(found) = events.into_iter().find(|event| fits(event)) {
                return found;
            }
        }
    };
    timeout(PATIENCE, search).await.expect("an event in time")
}

fn bus() -> (MemoryBus, MemoryCoordinator) {
    (MemoryBus::new(Arc::new(SystemClock)), MemoryCoordinator::new())
}

#[tokio::test]
async fn every_command_is_answered_over_the_bus() {
    let (bus, coordinator) = bus();
    let node = node("celery@one", &bus, &coordinator, RemoteOptions::default()).await;
    assert_eq!(node.ask("ping", json!({})).await, json!({"ok": "pong"}));
    for (method, arguments) in [
        ("active", json!({"safe": false})),
        ("reserved", json!({})),
        ("scheduled", json!({})),
        ("revoked", json!({})),
        ("registered", json!({"taskinfoitems": []})),
        ("active_queues", json!({})),
        ("query_task", json!({"ids": ["a"]})),
        ("clock", json!({})),
        ("report", json!({})),
        ("hello", json!({"from_node": "celery@two", "revoked": []})),
        ("rate_limit", json!({"task_name": "tradewind.noop", "rate_limit": "5/s"})),
        ("time_limit", json!({"task_name": "tradewind.noop", "soft": 1, "hard": 2})),
        ("pool_grow", json!({"n": 1})),
        ("pool_shrink", json!({"n": 1})),
        ("add_consumer", json!({"queue": "more"})),
        ("cancel_consumer", json!({"queue": "more"})),
        ("enable_events", json!({})),
        ("disable_events", json!({})),
        ("revoke_by_stamped_headers", json!({"headers": {"a": "b"}})),
        ("terminate", json!({"signal": "TERM", "task_id": "a"})),
    ] {
        let value = node.ask(method, arguments).await;
        assert!(value.get("error").is_none(), "{method}: {value}");
    }
    assert_eq!(node.ask("heartbeat", json!({})).await, Value::Null);
    assert!(node.ask("pool_restart", json!({})).await["error"].is_string());
    assert!(node.ask("autoscale", json!({})).await["error"].is_string());
    assert_eq!(node.ask("memdump", json!({})).await, json!({"error": "KeyError('memdump')"}));
    let shown =
        format!("{}{}", node.ask("conf", json!({})).await, node.ask("stats", json!({})).await);
    assert!(shown.contains("broker_url") && !shown.contains("geheim"), "{shown}");
    node.end().await;
}

#[tokio::test]
async fn commands_reach_only_the_nodes_that_are_meant() {
    let (bus, coordinator) = bus();
    let one = node("celery@one", &bus, &coordinator, RemoteOptions::default()).await;
    let two = node("celery@two", &bus, &coordinator, RemoteOptions::default()).await;
    let mut to_two = request("ping", json!({}));
    to_two.destination = Some(vec!["celery@two".to_owned()]);
    let deadline = Instant::now() + PATIENCE;
    let replies = loop {
        let both = bus
            .ask(request("ping", json!({})), Duration::from_secs(5), Some(2))
            .await
            .expect("asked");
        if both.len() == 2 {
            break bus.ask(to_two, Duration::from_secs(5), Some(1)).await.expect("asked");
        }
        assert!(Instant::now() < deadline, "both answer");
    };
    assert_eq!(replies.iter().map(|reply| reply.node.as_str()).collect::<Vec<_>>(), ["celery@two"]);
    let mut shutdown = request("shutdown", json!({}));
    shutdown.destination = Some(vec!["celery@one".to_owned()]);
    bus.broadcast(shutdown).await.expect("sent");
    timeout(PATIENCE, one.state.shutdown().cancelled()).await.expect("asked to end");
    assert!(!two.state.shutdown().is_cancelled());
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn a_worker_tells_that_it_comes_lives_and_goes() {
    let (bus, coordinator) = bus();
    let mut stream = bus.subscribe_events().await.expect("subscribed");
    let options = RemoteOptions { heartbeat_interval_ms: 50, ..RemoteOptions::default() };
    let node = node("celery@one", &bus, &coordinator, options).await;
    let online = event(&mut stream, |_| true).await;
    assert_eq!(online.kind(), "worker-online");
    let beat = event(&mut stream, |event| event.kind() == "worker-heartbeat").await;
    for member in [
        "hostname",
        "utcoffset",
        "pid",
        "clock",
        "timestamp",
        "freq",
        "active",
        "processed",
        "loadavg",
        "sw_ident",
        "sw_ver",
        "sw_sys",
    ] {
        assert!(beat.0.contains_key(member), "{member}");
    }
    assert_eq!((beat.text("hostname"), &beat.0["freq"]), (Some("celery@one"), &json!(0.05)));
    assert_eq!(beat.0["loadavg"].as_array().map(Vec::len), Some(3));
    let later = event(&mut stream, |event| event.kind() == "worker-heartbeat").await;
    assert!(later.0["clock"].as_u64() > beat.0["clock"].as_u64());
    node.end().await;
    event(&mut stream, |event| event.kind() == "worker-offline").await;
}

#[tokio::test]
async fn a_monitor_can_ask_for_a_heartbeat_and_for_task_events() {
    let (bus, coordinator) = bus();
    let mut stream = bus.subscribe_events().await.expect("subscribed");
    // No beat by itself within this test.
    let options = RemoteOptions { heartbeat_interval_ms: 600_000, ..RemoteOptions::default() };
    let node = node("celery@one", &bus, &coordinator, options).await;
    event(&mut stream, |event| event.kind() == "worker-heartbeat").await;
    node.ask("heartbeat", json!({})).await;
    event(&mut stream, |event| event.kind() == "worker-heartbeat").await;
    assert!(!node.handle.sends_task_events());
    node.ask("enable_events", json!({})).await;
    assert!(node.handle.sends_task_events());
    assert_eq!(node.handle.events_dropped(), 0);
    node.end().await;
}

#[tokio::test]
async fn what_is_revoked_survives_the_workers() {
    let (bus, coordinator) = bus();
    let one = node("celery@one", &bus, &coordinator, RemoteOptions::default()).await;
    one.ask("revoke", json!({"task_id": ["a", "b"], "terminate": true, "signal": "KILL"})).await;
    let deadline = Instant::now() + PATIENCE;
    while coordinator.revoked(10).await.expect("revoked").len() < 2 {
        assert!(Instant::now() < deadline, "told to the fleet");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(coordinator.revoked(10).await.expect("revoked").iter().all(|task| task.terminate));
    one.end().await;
    let later = [Revoked { id: "c".to_owned(), terminate: false }];
    coordinator.revoke(&later, Duration::from_secs(600)).await.expect("revoked");
    let two = node("celery@two", &bus, &coordinator, RemoteOptions::default()).await;
    let mut known = two.state.revoked();
    known.sort();
    assert_eq!(known, ["a", "b", "c"], "known before the first task is taken");
    assert_eq!(two.coordinator.kind(), "memory");
    two.end().await;
}

#[tokio::test]
async fn a_bus_that_is_gone_costs_only_the_events() {
    let (bus, coordinator) = bus();
    let options = RemoteOptions { heartbeat_interval_ms: 50, ..RemoteOptions::default() };
    let node = node("celery@one", &bus, &coordinator, options).await;
    node.ask("ping", json!({})).await;
    bus.close().await;
    let deadline = Instant::now() + PATIENCE;
    while node.handle.events_dropped() < 2 {
        assert!(Instant::now() < deadline, "lost events are counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!node.running.is_finished());
    node.end().await;
}

#[tokio::test]
async fn slots_follow_the_length_of_the_queue_and_the_range() {
    let (bus, coordinator) = bus();
    let autoscale = Some(Range { max: 6, min: 1 });
    let options = RemoteOptions { autoscale, ..RemoteOptions::default() };
    let node = node("celery@one", &bus, &coordinator, options).await;
    node.broker.declare(&["q".to_owned()]).await.expect("declared");
    for n in 0..20 {
        let message = Request::new("tradewind.noop", n.to_string()).to_message();
        node.broker.publish("q", message).await.expect("published");
    }
    let size = async |slots| {
        let deadline = Instant::now() + PATIENCE;
        while node.state.pool().size() != slots {
            assert!(Instant::now() < deadline, "{slots} slots");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    size(6).await;
    let said = node.ask("autoscale", json!({"max": 3, "min": 1})).await;
    assert_eq!(said, json!({"ok": "autoscale now max=3 min=1"}));
    size(3).await;
    assert_eq!(node.handle.range(), Some(Range { max: 3, min: 1 }));
    node.end().await;
}
