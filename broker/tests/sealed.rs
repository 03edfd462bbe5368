//! Signed and encrypted messages on real servers: what a thief, a forger and a careless operator meet.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use tradewind_broker::conformance::queue;
use tradewind_broker::sealed::SecurityOptions;
use tradewind_broker::{
    Broker, BrokerOptions, Delivery, Error, Outgoing, Payload, SealedBroker, Selection, open,
};
use tradewind_proto::clock::SystemClock;
use tradewind_proto::message::TaskMessage;
use tradewind_services::shared;
use uuid::Uuid;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A key file of a test.
fn key_file(dir: &TempDir, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("rights");
    path
}

async fn broker(url: &str, security: SecurityOptions) -> Result<Arc<dyn Broker>, Error> {
    let options = BrokerOptions { security, ..BrokerOptions::default() };
    open(url, &options, Arc::new(SystemClock)).await
}

fn secret(n: u128) -> TaskMessage {
    TaskMessage::json("pay.charge", Uuid::from_u128(n), &json!(["card 4711"]), &json!({}))
}

async fn one(broker: &dyn Broker, queue: &str) -> Delivery {
    let mut consumer = broker.consume(&[queue.to_owned()], 1).await.expect("consume");
    let delivery = consumer.next_batch(1).await.expect("a delivery").pop().expect("one");
    consumer.close().await.expect("closed");
    delivery
}

/// Everything that is published comes sealed and is opened; what is not sealed is refused, and stays as it
/// was in the dead-letter queue.
async fn seals(url: &str) {
    let dir = tempfile::tempdir().expect("folder");
    let sealed = broker(url, demands(&dir)).await.expect("open");
    let plain = broker(url, SecurityOptions::default()).await.expect("open");
    sealed_and_plain(&*sealed, &*plain).await;
}

/// Keys of both kinds, and both demands.
fn demands(dir: &TempDir) -> SecurityOptions {
    SecurityOptions {
        signing_keys: Some(key_file(dir, "sign", &format!("s1 {KEY}"), 0o600)),
        encryption_keys: Some(key_file(dir, "encrypt", &format!("e1 {KEY}"), 0o440)),
        require_signature: true,
        require_encryption: true,
    }
}

async fn sealed_and_plain(sealed: &dyn Broker, plain: &dyn Broker) {
    let q = queue("sealed");
    sealed.declare(std::slice::from_ref(&q)).await.expect("declared");

    sealed.publish(&q, secret(1)).await.expect("published");
    let many = (2..4).map(|n| Outgoing { queue: q.clone(), message: secret(n) }).collect();
    assert!(sealed.publish_many(many).await.iter().all(Result::is_ok));
    sealed.publish_routed("", &q, secret(4)).await.expect("published");
    let stored = sealed.peek(&q, 10).await.expect("peek");
    assert_eq!(stored.len(), 4);
    for message in &stored {
        let text = format!("{message:?}{}", String::from_utf8_lossy(&message.body));
        assert!(!text.contains("4711"), "{text}");
    }
    for n in 1..5 {
        let mut delivery = one(sealed, &q).await;
        let Payload::Message(message) = delivery.payload() else { panic!("{delivery:?}") };
        assert_eq!((message.id(), &message.body), (secret(n).id(), &secret(n).body));
        delivery.ack().await.expect("ack");
    }

    // A forger who reaches the broker.
    plain.publish(&q, secret(9)).await.expect("published");
    let mut delivery = one(sealed, &q).await;
    let Payload::Refused { kind: "signature", reason } = delivery.payload().clone() else {
        panic!("{delivery:?}")
    };
    delivery.dead_letter(&reason).await.expect("buried");
    let letters = sealed.dead_letters(&q, 9, None).await.expect("letters");
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, reason.as_str()));
    assert_eq!(letters[0].task.as_deref(), Some("pay.charge"));
    // Replay does not make it ours.
    assert_eq!(sealed.replay(&q, &Selection::All).await, Ok(1));
    let mut delivery = one(sealed, &q).await;
    assert!(
        matches!(delivery.payload(), Payload::Refused { kind: "signature", .. }),
        "{delivery:?}"
    );
    delivery.ack().await.expect("ack");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis() {
    seals(&tokio::task::block_in_place(shared::redis_url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq() {
    seals(&tokio::task::block_in_place(shared::amqp_url)).await;
}

#[tokio::test]
async fn memory() {
    let dir = tempfile::tempdir().expect("folder");
    let plain = broker("memory://", SecurityOptions::default()).await.expect("open");
    let seal = demands(&dir).seal().expect("keys").expect("a seal");
    let sealed = SealedBroker::new(Arc::clone(&plain), seal);
    sealed_and_plain(&sealed, &*plain).await;
}

#[tokio::test]
async fn keys_that_others_can_read_and_demands_without_keys_are_refused() {
    let dir = tempfile::tempdir().expect("folder");
    let good = format!("a {KEY}");
    let refused = async |path: PathBuf, expected: &str| {
        let security = SecurityOptions { signing_keys: Some(path), ..SecurityOptions::default() };
        let Err(Error::Config(text)) = broker("memory://", security).await else {
            panic!("{expected}: it was taken")
        };
        assert!(text.contains(expected) && text.contains("[security] signing_keys"), "{text}");
        assert!(!text.contains(&KEY[..8]), "{text}");
    };
    refused(key_file(&dir, "open", &good, 0o644), "chmod 600").await;
    refused(key_file(&dir, "writable", &good, 0o660), "chmod 600").await;
    refused(key_file(&dir, "short", &format!("a {}", &KEY[..60]), 0o600), "not 32").await;
    refused(key_file(&dir, "none", "# later\n", 0o600), "no key").await;
    refused(dir.path().join("missing"), "No such file").await;
    for security in [
        SecurityOptions { require_signature: true, ..SecurityOptions::default() },
        SecurityOptions { require_encryption: true, ..SecurityOptions::default() },
    ] {
        let Err(Error::Config(text)) = broker("memory://", security).await else { panic!("taken") };
        assert!(text.contains("there are no"), "{text}");
    }
}
