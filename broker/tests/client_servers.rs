//! The client on real brokers: what `send_many` said was sent is there, once, and reads as it was meant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tradewind_broker::client::{Client, Routes, TaskCall};
use tradewind_broker::coordination::MemoryCoordinator;
use tradewind_broker::{BrokerOptions, MemoryResults, Payload, open};
use tradewind_proto::celery::Request;
use tradewind_proto::clock::{SharedClock, SystemClock, SystemIds};
use tradewind_services::{shared, unique};

const COUNT: usize = 5_000;
const LIMIT: Duration = Duration::from_secs(60);

async fn five_thousand_arrive(url: String) {
    let clock: SharedClock = Arc::new(SystemClock);
    let broker = open(&url, &BrokerOptions::default(), Arc::clone(&clock)).await.expect("a broker");
    let queue = unique("client");
    let client = Client::new(
        Arc::clone(&broker),
        Arc::new(MemoryResults::new()),
        None,
        Arc::new(MemoryCoordinator::new()),
        Routes::new(&queue),
        clock,
        Arc::new(SystemIds),
    );
    let calls = (0..COUNT).map(|n| TaskCall::new("add").args((n, "é")).kwarg("n", n)).collect();
    let sent = client.send_many(calls).await;
    let mut expected = BTreeMap::new();
    for (n, handle) in sent.into_iter().enumerate() {
        expected.insert(handle.expect("sent").id().to_owned(), n);
    }
    assert_eq!(expected.len(), COUNT, "every task has an id of its own");

    let mut consumer = broker.consume(&[queue], 500).await.expect("a consumer");
    let reading = async {
        while !expected.is_empty() {
            for mut delivery in consumer.next_batch(500).await.expect("deliveries") {
                let Payload::Message(message) = delivery.payload() else { panic!("no message") };
                let request = Request::decode(message).expect("a request");
                let n = expected.remove(&request.id).expect("one that was sent, once");
                assert_eq!(request.args, [json!(n), json!("é")]);
                assert_eq!(request.kwargs["n"], json!(n));
                delivery.ack().await.expect("an ack");
            }
        }
    };
    tokio::time::timeout(LIMIT, reading).await.expect("all in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis() {
    five_thousand_arrive(shared::redis_url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq() {
    five_thousand_arrive(shared::amqp_url()).await;
}
