//! A monitor, the bus it listens to, and a worker that answers from a script.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tradewind_broker::coordination::MemoryCoordinator;
use tradewind_broker::{
    Broker, Client, ControlBus, Coordinator, MemoryBroker, MemoryBus, MemoryResults, Reply,
    ResultBackend, Route, Routes,
};
use tradewind_proto::Timestamp;
use tradewind_proto::celery::{ControlRequest, Event};
use tradewind_proto::clock::{Clock, SystemIds};
use tradewind_web::{FlowerDeps, FlowerHandle, FlowerOptions, FlowerService};

pub(crate) const WORKER: &str = "celery@one";
/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct HandClock(Mutex<Timestamp>);

impl HandClock {
    pub(crate) fn advance(&self, seconds: i64) {
        let mut at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *at += jiff::SignedDuration::from_secs(seconds);
    }

    pub(crate) fn seconds(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a number of seconds")]
        let seconds = self.now().as_second() as f64;
        seconds
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) clock: Arc<HandClock>,
    pub(crate) bus: MemoryBus,
    pub(crate) broker: MemoryBroker,
    pub(crate) results: Arc<MemoryResults>,
    pub(crate) coordinator: Arc<MemoryCoordinator>,
    pub(crate) flower: FlowerHandle,
    pub(crate) router: Router,
    commands: Arc<Mutex<Vec<ControlRequest>>>,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
}

impl Fleet {
    /// A monitor that runs, open to everybody unless the options say more, and a worker.
    pub(crate) async fn new(options: FlowerOptions) -> Self {
        let start = "2026-11-20T08:00:00Z".parse().expect("a time");
        let clock = Arc::new(HandClock(Mutex::new(start)));
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        let bus = MemoryBus::new(Arc::clone(&shared));
        let broker = MemoryBroker::new(Arc::clone(&shared));
        let results = Arc::new(MemoryResults::new());
        let parts = (
            Arc::new(broker.clone()) as Arc<dyn Broker>,
            Arc::clone(&results) as Arc<dyn ResultBackend>,
            Arc::new(bus.clone()) as Arc<dyn ControlBus>,
        );
        let coordinator = Arc::new(MemoryCoordinator::new());
        let routes = Routes::new("celery").add("routed.*", Route::queue("mail").priority(3));
        let (routes, ids) = (routes.expect("a route"), Arc::new(SystemIds));
        let facts = Arc::clone(&coordinator) as Arc<dyn Coordinator>;
        let clock_ = Arc::clone(&shared);
        let client = Client::new(parts.0, parts.1, parts.2, facts, routes, clock_, ids);
        let deps = FlowerDeps {
            client,
            broker: Arc::new(broker.clone()),
            results: Some(Arc::clone(&results) as Arc<dyn ResultBackend>),
            bus: Arc::new(bus.clone()),
            clock: shared,
            ids: Arc::new(SystemIds),
        };
        let commands = Arc::default();
        // Before the monitor starts, so that its greeting is heard.
        script(&bus, &commands, WORKER).await;
        let service = FlowerService::new(options, deps).expect("valid options");
        let flower = service.handle();
        let stop = CancellationToken::new();
        let shutdown = stop.clone();
        let running = tokio::spawn(async move { service.run(shutdown).await.expect("runs") });
        let router = flower.router();
        let running = Some(running);
        let fleet = Self {
            clock,
            bus,
            broker,
            results,
            coordinator,
            flower,
            router,
            commands,
            stop,
            running,
        };
        // It listens once the greeting has come.
        fleet.until("the greeting", |fleet| fleet.saw("heartbeat")).await;
        fleet
    }

    /// Tells the monitor that the worker is there, and waits until it has been asked about itself.
    pub(crate) async fn online(&self) {
        self.event("worker-online", WORKER, json!({"freq": 2.0, "active": 2, "pid": 7})).await;
        self.heartbeat(2).await;
        for _ in 0..1500 {
            let (_, workers) = self.get("/api/workers").await;
            if workers[WORKER]["conf"].is_object() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the worker was never asked");
    }

    pub(crate) async fn heartbeat(&self, active: u64) {
        self.event("worker-heartbeat", WORKER, json!({"freq": 2.0, "active": active})).await;
    }

    /// Sends an event and waits until the monitor has it.
    pub(crate) async fn event(&self, kind: &str, host: &str, fields: Value) {
        let before = self.counted();
        let mut event = Event::new(kind, fields);
        for (name, value) in [
            ("hostname", json!(host)),
            ("timestamp", json!(self.clock.seconds())),
            ("clock", json!(before + 1)),
            ("utcoffset", json!(0)),
            ("pid", json!(7)),
        ] {
            event.0.entry(name).or_insert(value);
        }
        self.bus.publish_events(&[event]).await.expect("publishes");
        self.until("the event", |fleet| fleet.counted() > before).await;
    }

    /// A task's whole life: sent at 0 s, received at 1, started at 2, ended at 3.
    pub(crate) async fn task(&self, uuid: &str, name: &str, queue: &str, end: (&str, Value)) {
        let at = self.clock.seconds();
        let sent = json!({
            "uuid": uuid, "name": name, "args": "(1, 2)", "kwargs": "{}", "retries": 0,
            "eta": null, "expires": null, "queue": queue, "exchange": "", "routing_key": queue,
            "root_id": uuid, "parent_id": null, "timestamp": at,
        });
        self.event("task-sent", "gen1@client", sent).await;
        let received = json!({
            "uuid": uuid, "name": name, "args": "(1, 2)", "kwargs": "{}", "retries": 0,
            "eta": null, "expires": null, "timestamp": at + 1.0,
        });
        self.event("task-received", WORKER, received).await;
        self.event("task-started", WORKER, json!({"uuid": uuid, "timestamp": at + 2.0})).await;
        let (kind, mut fields) = end;
        fields["uuid"] = json!(uuid);
        fields["timestamp"] = json!(at + 3.0);
        self.event(kind, WORKER, fields).await;
    }

    fn counted(&self) -> u64 {
        let families = self.flower.registry().gather();
        let family = families.iter().find(|f| f.name() == "tradewind_monitor_events_total");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let count = family.expect("registered").get_metric()[0].get_counter().get_value() as u64;
        count
    }

    pub(crate) fn saw(&self, method: &str) -> bool {
        self.command(method).is_some()
    }

    /// The last command of this name that the worker got.
    pub(crate) fn command(&self, method: &str) -> Option<ControlRequest> {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.iter().rev().find(|request| request.method == method).cloned()
    }

    pub(crate) async fn until(&self, what: &str, found: impl Fn(&Self) -> bool) {
        let wait = async {
            while !found(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "{what} did not come");
    }

    /// Waits until the metrics page has these lines and returns it.
    pub(crate) async fn metrics_with(&self, lines: &[&str]) -> String {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let (status, text) = self.text("GET", "/metrics", &[], Body::empty()).await;
            assert_eq!(status, StatusCode::OK);
            let missing: Vec<_> =
                lines.iter().filter(|line| !text.lines().any(|found| found == **line)).collect();
            if missing.is_empty() {
                return text;
            }
            assert!(tokio::time::Instant::now() < deadline, "missing: {missing:#?}\n{text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let (status, text) = self.text("GET", path, &[], Body::empty()).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let (status, text) = self.text("POST", path, &form, body.into()).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(crate) async fn text(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    /// Stops the monitor and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let running = self.running.take().expect("stopped once");
        tokio::time::timeout(DEADLINE, running).await.expect("ends").expect("did not panic");
        self.broker.close().await;
    }
}

/// Options with an open API and short intervals.
pub(crate) fn open() -> FlowerOptions {
    FlowerOptions { unauthenticated_api: true, refresh_seconds: 1, ..FlowerOptions::default() }
}

/// Starts a worker that remembers commands and answers them.
async fn script(bus: &MemoryBus, commands: &Arc<Mutex<Vec<ControlRequest>>>, node: &'static str) {
    let mut mailbox = bus.open_mailbox(node).await.expect("opens");
    let (bus, commands) = (bus.clone(), Arc::clone(commands));
    tokio::spawn(async move {
        while let Ok(request) = mailbox.next().await {
            commands.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
            if request.reply_to.is_some() {
                let reply = Reply { node: node.to_owned(), value: answer(&request) };
                bus.reply(&request, reply).await.expect("replies");
            }
        }
    });
}

/// What the worker says.
fn answer(request: &ControlRequest) -> Value {
    let argument = |name: &str| request.arguments.get(name).cloned().unwrap_or(Value::Null);
    match request.method.as_str() {
        "stats" => json!({
            "total": {"add": 3}, "pid": 7, "clock": "9", "uptime": 5, "prefetch_count": 16,
            "pool": {"max-concurrency": 4, "processes": [1, 2, 3, 4], "implementation": "async"},
            "broker": {"hostname": "localhost", "alternates": ["redis://:secret@x"]},
        }),
        "active_queues" => json!([{"name": "mail", "routing_key": "mail"}]),
        "registered" => json!(["add", "mail.send [rate_limit=10/m]"]),
        "conf" => json!({"timezone": "UTC"}),
        "active" | "reserved" | "scheduled" | "revoked" => json!([]),
        "pool_grow" | "pool_shrink" => json!({"ok": "pool will change"}),
        "add_consumer" => json!({"ok": format!("add consumer {}", text(&argument("queue")))}),
        "cancel_consumer" => {
            json!({"ok": format!("no longer consuming from {}", text(&argument("queue")))})
        }
        "rate_limit" => json!({"ok": "new rate limit set successfully"}),
        "time_limit" => json!({"ok": "time limits set successfully"}),
        "autoscale" => json!({"error": "Autoscale not enabled"}),
        "pool_restart" => Value::Object(Map::new()),
        other => json!({"error": format!("KeyError('{other}')")}),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
