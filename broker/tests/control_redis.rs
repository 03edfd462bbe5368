//! The control bus on Redis against the suite, and in the shapes that kombu reads and writes.

mod control;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use control::{Inject, Served, options};
use futures::StreamExt;
use serde_json::{Value, json};
use tradewind_broker::{BusOptions, Reply, bus_conformance, bus_outage_conformance, open_bus};
use tradewind_proto::celery::{ControlRequest, Event};
use tradewind_proto::clock::SystemClock;
use tradewind_services::{Proxy, Redis, RedisOptions, shared, unique};

const SOON: Duration = Duration::from_secs(20);

struct Garbage;

#[async_trait]
impl Inject for Garbage {
    async fn inject(&self, url: &str) {
        let client = redis::Client::open(url).expect("url");
        let mut connection = client.get_multiplexed_async_connection().await.expect("connect");
        let not_base64 = br#"{"body": "%", "properties": {"body_encoding": "base64"}}"#;
        let not_json = br#"{"body": "gA==", "properties": {"body_encoding": "base64"}}"#;
        for bytes in [&b"\x80\x04"[..], b"", b"{}", b"[1]", not_base64, not_json] {
            for channel in ["/0.celeryev/task.sent", "/0.celery.pidbox"] {
                let mut publish = redis::cmd("PUBLISH");
                publish.arg(channel).arg(bytes);
                let _receivers: i64 = publish.query_async(&mut connection).await.expect("publish");
            }
        }
    }
}

async fn on_shared() -> Served {
    let url = tokio::task::block_in_place(shared::redis_url);
    Served { url, inject: Box::new(Garbage), private: None }
}

async fn on_private() -> Served {
    let mut server = Redis::start(RedisOptions { appendonly: false }).expect("redis");
    let proxy = Proxy::start(server.port()).expect("proxy");
    let url = proxy.url(server.url());
    let restart = move || {
        server.kill9();
        server.restart().expect("redis comes back");
    };
    let private = Some((proxy, Mutex::new(Box::new(restart) as control::Restart)));
    Served { url, inject: Box::new(Garbage), private }
}

bus_conformance!(on_shared);
bus_outage_conformance!(on_private);

async fn link() -> (redis::Client, redis::aio::MultiplexedConnection) {
    let url = tokio::task::block_in_place(shared::redis_url);
    let client = redis::Client::open(url).expect("url");
    let connection = client.get_multiplexed_async_connection().await.expect("connect");
    (client, connection)
}

fn body(envelope: &Value) -> Value {
    use base64::Engine;
    let text = envelope["body"].as_str().expect("a body");
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    serde_json::from_slice(&bytes).expect("json")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_and_envelopes_are_kombus() {
    let prefix = unique("prefix");
    let options = BusOptions { global_keyprefix: prefix.clone(), ..options() };
    let url = tokio::task::block_in_place(shared::redis_url);
    let bus = open_bus(&url, &options, Arc::new(SystemClock)).await.expect("a bus");
    let (client, _) = link().await;
    let mut listening = client.get_async_pubsub().await.expect("pubsub");
    listening.psubscribe(format!("{prefix}/0.*")).await.expect("subscribed");
    let mut messages = listening.on_message();
    let event = Event::new("worker-heartbeat", json!({"hostname": "celery@a", "freq": 2.0}));
    bus.publish_events(std::slice::from_ref(&event)).await.expect("published");
    let message = messages.next().await.expect("an event");
    assert_eq!(message.get_channel_name(), format!("{prefix}/0.celeryev/worker.heartbeat"));
    let envelope: Value = serde_json::from_slice(message.get_payload_bytes()).expect("json");
    assert_eq!(body(&envelope), Value::Object(event.0));
    assert_eq!(envelope["headers"], json!({"hostname": "celery@a"}));
    assert_eq!(envelope["content-type"], "application/json");
    assert_eq!(envelope["properties"]["delivery_mode"], 1);
    bus.broadcast(ControlRequest { method: "ping".to_owned(), ..ControlRequest::default() })
        .await
        .expect("sent");
    let message = messages.next().await.expect("a command");
    assert_eq!(message.get_channel_name(), format!("{prefix}/0.celery.pidbox"));
    let envelope: Value = serde_json::from_slice(message.get_payload_bytes()).expect("json");
    assert_eq!(body(&envelope)["method"], "ping");
}

/// What kombu does to ask: binds its reply queue, then publishes the command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_of_kombu_is_answered_where_kombu_looks() {
    let prefix = unique("prefix");
    let options = BusOptions { global_keyprefix: prefix.clone(), ..options() };
    let url = tokio::task::block_in_place(shared::redis_url);
    let bus = open_bus(&url, &options, Arc::new(SystemClock)).await.expect("a bus");
    let mut mailbox = bus.open_mailbox("celery@rust").await.expect("a mailbox");
    let (_, mut connection) = link().await;
    let mut bind = redis::cmd("SADD");
    bind.arg(format!("{prefix}_kombu.binding.reply.celery.pidbox"));
    bind.arg("oid-1\u{6}\u{16}\u{6}\u{16}oid-1.reply.celery.pidbox");
    bind.arg("oid-2\u{6}\u{16}\u{6}\u{16}oid-2.reply.celery.pidbox");
    let _added: i64 = bind.query_async(&mut connection).await.expect("bound");
    // Body: {"method": "ping", "arguments": {}, "destination": null, "pattern": null,
    // "matcher": null, "ticket": "t-1", "reply_to": {"exchange": "reply.celery.pidbox",
    // "routing_key": "oid-1"}}, as Python's json writes it.
    let envelope = r#"{"body": "eyJtZXRob2QiOiAicGluZyIsICJhcmd1bWVudHMiOiB7fSwgImRlc3RpbmF0aW9uIjogbnVsbCwgInBhdHRlcm4iOiBudWxsLCAibWF0Y2hlciI6IG51bGwsICJ0aWNrZXQiOiAidC0xIiwgInJlcGx5X3RvIjogeyJleGNoYW5nZSI6ICJyZXBseS5jZWxlcnkucGlkYm94IiwgInJvdXRpbmdfa2V5IjogIm9pZC0xIn19", "content-encoding": "utf-8", "content-type": "application/json", "headers": {"clock": 1, "expires": 0}, "properties": {"delivery_mode": 1, "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""}, "priority": 0, "body_encoding": "base64", "delivery_tag": "d2d9a6b6-7c40-4c1c-a8a4-36b0a3f1d4c5"}}"#;
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(format!("{prefix}/0.celery.pidbox")).arg(envelope);
    let receivers: i64 = publish.query_async(&mut connection).await.expect("published");
    assert_eq!(receivers, 1);
    let request = tokio::time::timeout(SOON, mailbox.next()).await.expect("in time");
    let request = request.expect("a command");
    assert_eq!(request.method, "ping");
    let reply = Reply { node: "celery@rust".to_owned(), value: json!({"ok": "pong"}) };
    bus.reply(&request, reply).await.expect("replied");
    let mut lists = Vec::new();
    for oid in ["oid-1", "oid-2"] {
        let mut range = redis::cmd("LRANGE");
        range.arg(format!("{prefix}{oid}.reply.celery.pidbox")).arg(0).arg(-1);
        let list: Vec<String> = range.query_async(&mut connection).await.expect("a list");
        lists.push(list);
    }
    assert_eq!((lists[0].len(), lists[1].len()), (1, 0));
    let envelope: Value = serde_json::from_str(&lists[0][0]).expect("json");
    assert_eq!(body(&envelope), json!({"celery@rust": {"ok": "pong"}}));
    assert_eq!(envelope["headers"]["ticket"], "t-1");
}

/// A reply queue and its binding are gone after a question, and after one that was given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_leave_nothing_behind() {
    let prefix = unique("prefix");
    let options = BusOptions { global_keyprefix: prefix.clone(), ..options() };
    let url = tokio::task::block_in_place(shared::redis_url);
    let bus = open_bus(&url, &options, Arc::new(SystemClock)).await.expect("a bus");
    let (_, mut connection) = link().await;
    let key = format!("{prefix}_kombu.binding.reply.celery.pidbox");
    let request = ControlRequest { method: "ping".to_owned(), ..ControlRequest::default() };
    let asked = bus.ask(request.clone(), Duration::from_millis(100), None).await;
    assert_eq!(asked, Ok(Vec::new()));
    let mut count = redis::cmd("SCARD");
    count.arg(&key);
    assert_eq!(count.query_async(&mut connection).await, Ok(0));
    let asking = tokio::spawn(async move { bus.ask(request, SOON * 10, None).await });
    let reaches = async |connection: &mut redis::aio::MultiplexedConnection, wanted: i64| {
        let polling = async {
            while count.query_async(connection).await != Ok(wanted) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SOON, polling).await.expect("in time");
    };
    reaches(&mut connection, 1).await;
    asking.abort();
    reaches(&mut connection, 0).await;
}

/// What a killed client left behind is removed by the next question, and only what is ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leftovers_of_killed_clients_are_removed() {
    let prefix = unique("prefix");
    let options = BusOptions { global_keyprefix: prefix.clone(), ..options() };
    let url = tokio::task::block_in_place(shared::redis_url);
    let bus = open_bus(&url, &options, Arc::new(SystemClock)).await.expect("a bus");
    let (_, mut connection) = link().await;
    let key = format!("{prefix}_kombu.binding.reply.celery.pidbox");
    let mut left = redis::pipe();
    left.sadd(&key, "killed").sadd(&key, "of kombu");
    left.zadd(format!("{prefix}tradewind:questions"), "killed", 1);
    left.exec_async(&mut connection).await.expect("left behind");
    let request = ControlRequest { method: "ping".to_owned(), ..ControlRequest::default() };
    bus.ask(request, Duration::from_millis(50), None).await.expect("asked");
    let members: Vec<String> =
        redis::cmd("SMEMBERS").arg(&key).query_async(&mut connection).await.expect("members");
    assert_eq!(members, ["of kombu"]);
}

/// A half-open link gives no sign of its end: it is given up when it does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_link_is_given_up() {
    let server = Redis::start(RedisOptions { appendonly: false }).expect("redis");
    let proxy = Proxy::start(server.port()).expect("proxy");
    let options = BusOptions { response_timeout_ms: 300, ..options() };
    let url = proxy.url(server.url());
    let bus = open_bus(&url, &options, Arc::new(SystemClock)).await.expect("a bus");
    let ping = ControlRequest { method: "ping".to_owned(), ..ControlRequest::default() };
    bus.broadcast(ping.clone()).await.expect("sent");
    proxy.black_hole();
    let before = proxy.accepted();
    assert!(bus.broadcast(ping.clone()).await.is_err_and(|error| error.is_retryable()));
    assert!(bus.broadcast(ping).await.is_err_and(|error| error.is_retryable()));
    assert!(proxy.accepted() > before, "the second attempt has a link of its own");
}
