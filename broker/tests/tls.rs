//! TLS to servers whose certificates a private authority has signed: every seam, with the authority and
//! without.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tradewind_broker::conformance::{drain, fill, queue};
use tradewind_broker::coordination::Revoked;
use tradewind_broker::{
    BrokerOptions, BusOptions, CoordinatorOptions, Error, ResultOptions, StoredResult, open,
    open_bus, open_coordinator_with, open_results,
};
use tradewind_proto::celery::Event;
use tradewind_proto::clock::{SharedClock, SystemClock};
use tradewind_services::{Postgres, Rabbit, RabbitOptions, Redis, Tls, unique};

/// For anything that should happen soon.
const SOON: Duration = Duration::from_secs(20);

fn clock() -> SharedClock {
    Arc::new(SystemClock)
}

/// With the authority messages pass; without it no connection is made.
async fn queues(url: &str, tls: &Tls) {
    let trusting = BrokerOptions { ca_file: Some(tls.authority()), ..BrokerOptions::default() };
    let broker = open(url, &trusting, clock()).await.expect("open");
    let q = queue("secret");
    let mut consumer = broker.consume(std::slice::from_ref(&q), 4).await.expect("consume");
    fill(&*broker, &q, 3).await;
    assert_eq!(drain(&mut *consumer, 3).await, [0, 1, 2]);
    let broker = open(url, &BrokerOptions::default(), clock()).await.expect("open");
    assert!(broker.health().await.is_err(), "an unknown authority was trusted");
}

/// Events pass.
async fn events(url: &str, tls: &Tls) {
    let trusting = BusOptions { ca_file: Some(tls.authority()), ..BusOptions::default() };
    let bus = open_bus(url, &trusting, clock()).await.expect("open");
    let mut events = bus.subscribe_events().await.expect("subscribed");
    let name = unique("secret");
    let event = Event::new("task-custom", json!({"hostname": "celery@tls", "name": name}));
    bus.publish_events(&[event]).await.expect("published");
    let arrived = tokio::time::timeout(SOON, async {
        loop {
            let batch = events.next().await.expect("events");
            if batch.iter().any(|event| event.text("name") == Some(&name)) {
                return;
            }
        }
    });
    arrived.await.expect("it arrives");
    let bus = open_bus(url, &BusOptions::default(), clock()).await.expect("open");
    assert!(bus.subscribe_events().await.is_err(), "an unknown authority was trusted");
}

/// Results are stored and read, waiters and inboxes are told over connections of their own.
async fn results(url: &str, broker: Option<&str>, tls: &Tls) {
    let wary = ResultOptions { broker_url: broker.map(str::to_owned), ..ResultOptions::default() };
    let trusting = ResultOptions { ca_file: Some(tls.authority()), ..wary.clone() };
    let results = open_results(url, &trusting, clock()).await.expect("open");
    let id = unique("secret");
    let meta = json!({"status": "SUCCESS", "result": 4, "task_id": id});
    let stored = StoredResult {
        task_id: id.clone(),
        token: 0,
        state: "SUCCESS".to_owned(),
        meta: meta.to_string().into_bytes(),
        reply_to: results.reply_to().map(str::to_owned),
    };
    let (waited, put) = tokio::join!(results.wait(&id, SOON), results.put(stored, SOON));
    put.expect("put");
    assert_eq!(waited.expect("wait").expect("a result").state, "SUCCESS");
    let mut inbox = results.open_inbox(&id).await.expect("an inbox");
    results.send(&id, vec![b"outcome".to_vec()]).await.expect("sent");
    let items =
        tokio::time::timeout(SOON, inbox.next_batch(1)).await.expect("soon").expect("items");
    assert_eq!(items[0].body, b"outcome");
    inbox.ack(std::slice::from_ref(&items[0].tag)).await.expect("ack");
    let refused = open_results(url, &wary, clock()).await;
    assert!(refused.is_err(), "an unknown authority was trusted");
}

/// Facts of the fleet are shared.
async fn facts(url: &str, tls: &Tls) {
    let trusting = CoordinatorOptions { ca_file: Some(tls.authority()), ..Default::default() };
    let coordinator = open_coordinator_with(url, &trusting).await.expect("open");
    let id = unique("secret");
    let task = Revoked { id: id.clone(), terminate: false };
    coordinator.revoke(&[task], SOON).await.expect("revoked");
    assert_eq!(coordinator.are_revoked(&[id]).await, Ok(vec![true]));
    let refused = open_coordinator_with(url, &CoordinatorOptions::default()).await;
    assert!(refused.is_err(), "an unknown authority was trusted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_over_tls() {
    let tls = Tls::new().expect("certificates");
    let server = Redis::start_tls(&tls).expect("redis");
    queues(server.url(), &tls).await;
    events(server.url(), &tls).await;
    results(server.url(), None, &tls).await;
    facts(server.url(), &tls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_over_tls() {
    let tls = Tls::new().expect("certificates");
    let options = RabbitOptions { tls: Some(tls.dir().to_path_buf()), ..RabbitOptions::default() };
    let server = Rabbit::start_with(options).expect("rabbitmq");
    queues(server.tls_url(), &tls).await;
    events(server.tls_url(), &tls).await;
    results("rpc://", Some(server.tls_url()), &tls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_over_tls() {
    let tls = Tls::new().expect("certificates");
    let server = Postgres::start_tls(&tls).expect("postgres");
    let url = format!("{}?sslmode=verify-full", server.url());
    results(&url, None, &tls).await;
    facts(&url, &tls).await;
    // The URL alone can say it all.
    let url = format!("{url}&sslrootcert={}", tls.authority().display());
    open_results(&url, &ResultOptions::default(), clock()).await.expect("open");
    // For another name the certificate is worth nothing.
    let named = |host: &str| format!("{}&hostaddr=127.0.0.1", url.replacen("127.0.0.1", host, 1));
    let wary = ResultOptions::default();
    open_results(&named("localhost"), &wary, clock()).await.expect("open");
    open_results(&named("elsewhere.example"), &wary, clock()).await.expect_err("another name");
}

#[tokio::test]
async fn a_file_without_certificates_is_refused() {
    for path in ["/no/such/file.pem", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
        let ca_file = Some(PathBuf::from(path));
        let named =
            |text: String| assert!(text.contains("ca_file") && text.contains(path), "{text}");
        let options = BrokerOptions { ca_file: ca_file.clone(), ..BrokerOptions::default() };
        let bus = BusOptions { ca_file: ca_file.clone(), ..BusOptions::default() };
        for url in ["rediss://localhost/0", "amqps://localhost"] {
            let opened = open(url, &options, clock()).await;
            let Err(Error::Config(text)) = opened else { panic!("{path} was taken: {opened:?}") };
            named(text);
            named(open_bus(url, &bus, clock()).await.expect_err("a refusal").to_string());
        }
        let broker_url = Some("amqps://localhost".to_owned());
        let options = ResultOptions { ca_file, broker_url, ..ResultOptions::default() };
        for url in ["rediss://localhost/0", "rpc://", "postgresql://localhost/d?sslmode=require"] {
            named(open_results(url, &options, clock()).await.expect_err("a refusal").to_string());
        }
    }
}
