//! What our drivers say to RabbitMQ is what Celery says: both were recorded on the wire, Celery's part as
//! `rabbitmq_methods.json` in `proto/tests/data/celery`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tradewind_broker::{
    BrokerOptions, BusOptions, QueueKind, Reply, ResultOptions, StoredResult, open, open_bus,
    open_results,
};
use tradewind_proto::celery::{ControlRequest, Event, Request};
use tradewind_proto::clock::{SystemClock, from_micros};
use tradewind_services::Rabbit;
use tradewind_tests::amqp_recorder::Recorder;

/// What Celery calls and we do not, by key; each with the reason.
const NOT_OURS: &[(&str, &str)] = &[
    (
        "exchange.declare amqp-",
        "a queue is reached through the default exchange, as Celery's clients do",
    ),
    ("queue.bind amqp-", "the same"),
    ("exchange.bind amqp-topic", "delayed messages go to the queue itself"),
    ("basic.qos", "slots are counted by us; compared below"),
    ("queue.bind celeryev.UUID celeryev worker.#", "gossip between workers"),
    ("basic.publish celeryev task.multi", "one event is sent here"),
    ("basic.publish celeryev worker.heartbeat", "the same"),
    ("basic.publish celeryev worker.offline", "the same"),
    ("basic.publish amqp-topic", "the default exchange, again"),
    ("basic.publish celery_delayed_27", "our own clients' delays need no topology"),
];

/// What identifies a call; calls of the same key are compared.
fn key(method: &Value) -> String {
    let parts = ["method", "queue", "destination", "source", "exchange", "routing_key"];
    let said = parts.iter().filter_map(|part| method.get(*part).and_then(Value::as_str));
    said.collect::<Vec<_>>().join(" ")
}

/// Integers of all widths are one type to RabbitMQ.
fn evened(value: &Value) -> Value {
    match value {
        Value::Array(pair) if pair.len() == 2 => match pair[0].as_str() {
            Some("b" | "B" | "s" | "u" | "I" | "i" | "l" | "L") => json!(["int", pair[1]]),
            _ => Value::Array(pair.iter().map(evened).collect()),
        },
        Value::Object(map) => {
            Value::Object(map.iter().map(|(name, value)| (name.clone(), evened(value))).collect())
        }
        other => other.clone(),
    }
}

/// A declaration must be the same to the letter. Of a message, its kind: what is said of the body, whether it
/// outlives a restart, and the types of the headers that both have.
fn same(key: &str, celery: &Value, ours: &Value) -> Result<(), String> {
    let (celery, ours) = (evened(celery), evened(ours));
    if !key.starts_with("basic.publish") {
        return if celery == ours { Ok(()) } else { Err(format!("{key}:\n  {celery}\n  {ours}")) };
    }
    let (celery, ours) = (&celery["properties"], &ours["properties"]);
    // Celery writes a command as if it were to outlive a restart, in queues that do not.
    let is_command = key.starts_with("basic.publish celery.pidbox");
    for name in ["content_type", "content_encoding", "delivery_mode"] {
        if celery[name] != ours[name] && !(is_command && name == "delivery_mode") {
            return Err(format!("{key}: {name} {} and {}", celery[name], ours[name]));
        }
    }
    for name in ["correlation_id", "reply_to"] {
        if celery.get(name).is_some() != ours.get(name).is_some() {
            return Err(format!("{key}: {name} {:?} and {:?}", celery.get(name), ours.get(name)));
        }
    }
    let none = Map::new();
    let theirs = celery["headers"].as_object().unwrap_or(&none);
    for (name, value) in theirs {
        let mine = &ours["headers"][name];
        if mine[0] != value[0] {
            return Err(format!("{key}: header {name} {value} and {mine}"));
        }
    }
    Ok(())
}

fn recorded(version: &str, scenario: &str) -> BTreeMap<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../proto/tests/data/celery/{version}/rabbitmq_methods.json"));
    let text = std::fs::read_to_string(path).expect("the recording");
    let all: Value = serde_json::from_str(&text).expect("the recording");
    let of = |who: &str| all[scenario][who].as_array().cloned().expect("methods");
    let mut methods = [of("worker"), of("client")].concat();
    if version == "5.6.3" {
        // Since 5.7 own queues are exclusive, as RabbitMQ 4.3 wants them, and those of results durable.
        for own in methods.iter_mut().filter(|method| method["auto_delete"] == true) {
            let flag = if own["queue"] == "UUID" { "durable" } else { "exclusive" };
            if let Some(own) = own.as_object_mut() {
                own.insert(flag.to_owned(), json!(true));
            }
        }
    }
    methods.into_iter().map(|method| (key(&method), method)).collect()
}

/// Does what the recorded worker and client did, through a recorder.
async fn ours(rabbit: &Rabbit, scenario: &str) -> BTreeMap<String, Value> {
    let recorder = Recorder::start(rabbit.port());
    let quorum = scenario == "quorum";
    let url = format!("amqp://guest:guest@127.0.0.1:{}/%2f", recorder.port());
    let options = BrokerOptions {
        queue_kind: if quorum { QueueKind::Quorum } else { QueueKind::Classic },
        native_delayed_delivery: quorum,
        ..BrokerOptions::default()
    };
    let clock = Arc::new(SystemClock);
    let queue = format!("amqp-{scenario}");
    let broker = open(&url, &options, clock.clone()).await.expect("a broker");
    let mut consumer = broker.consume(std::slice::from_ref(&queue), 8).await.expect("a consumer");
    let id = uuid::Uuid::new_v4().to_string();
    // As the last of the recorded ones: with an end of its time.
    let expires = Some(from_micros(4_000_000_000_000_000));
    let reply_to = Some(id.clone());
    let call = Request { reply_to, expires, priority: 5, ..Request::new("capture.add", &id) };
    broker.publish(&queue, call.to_message()).await.expect("published");
    for mut delivery in consumer.next_batch(1).await.expect("a delivery") {
        delivery.ack().await.expect("acked");
    }

    let bus = open_bus(&url, &BusOptions::default(), clock.clone()).await.expect("a bus");
    let _events = bus.subscribe_events().await.expect("a subscription");
    let event = Event::new("worker-online", json!({"hostname": "worker@capture"}));
    bus.publish_events(&[event]).await.expect("an event");
    let mut mailbox = bus.open_mailbox("worker@capture").await.expect("a mailbox");
    let answer = async {
        let request = mailbox.next().await.expect("a command");
        let reply = Reply { node: "worker@capture".to_owned(), value: json!({"ok": "pong"}) };
        bus.reply(&request, reply).await.expect("a reply");
    };
    let ping = ControlRequest { method: "ping".to_owned(), ..ControlRequest::default() };
    let asking = bus.ask(ping, Duration::from_secs(30), Some(1));
    let ((), replies) = tokio::join!(answer, asking);
    assert_eq!(replies.expect("replies").len(), 1);

    let of_results = ResultOptions { broker_url: Some(url.clone()), ..ResultOptions::default() };
    let results = open_results("rpc://", &of_results, clock).await.expect("results");
    let result = StoredResult {
        task_id: id.clone(),
        token: 0,
        state: "SUCCESS".to_owned(),
        meta: json!({"status": "SUCCESS", "result": 5, "task_id": id}).to_string().into_bytes(),
        reply_to: Some(id),
    };
    results.put(result, Duration::from_secs(60)).await.expect("put");
    broker.close().await;
    bus.close().await;
    recorder.methods().into_iter().map(|method| (key(&method), method)).collect()
}

async fn compare(rabbit: &Rabbit, scenario: &str) {
    let ours = ours(rabbit, scenario).await;
    let mut wrong = Vec::new();
    for version in ["5.7.0", "5.6.3"] {
        for (key, celery) in recorded(version, scenario) {
            let known = NOT_OURS.iter().any(|(prefix, _)| key.starts_with(prefix));
            match ours.get(&key) {
                Some(ours) if !key.starts_with("basic.qos") => {
                    wrong.extend(
                        same(&key, &celery, ours).err().map(|text| format!("{version} {text}")),
                    );
                }
                None if !known => wrong.push(format!("{version} {key}: not called by us")),
                _ => {}
            }
        }
    }
    let calls: Vec<&String> = ours.keys().collect();
    assert!(wrong.is_empty(), "{}\n\nour calls: {calls:#?}", wrong.join("\n"));
    let qos = &ours["basic.qos"];
    assert_eq!(qos["prefetch_count"], 8, "{qos}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_and_published_is_what_celery_does() {
    let rabbit = Rabbit::start().expect("RabbitMQ starts");
    compare(&rabbit, "classic").await;
    compare(&rabbit, "quorum").await;
}
