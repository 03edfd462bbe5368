//! What messages and queues hold.

use serde_json::json;
use tradewind_proto::limits::MESSAGE_BODY_BYTES_MAX;

use super::{Harness, as_sent, content_of, drain, fill, message, one, queue, ready};
use crate::{Error, Outgoing};

pub async fn unknown_queue_is_unroutable(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("nobody"));
    let result = broker.publish(&q, message(0)).await;
    let Err(Error::Unroutable { queue: named }) = &result else { panic!("{result:?}") };
    assert_eq!(named, &q);
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    broker.publish(&q, message(1)).await.expect("the channel is still good");
}

pub async fn stats_peek_and_purge(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("stats"));
    let nothing = broker.stats(&q).await.expect("stats of a queue that does not exist");
    assert_eq!((nothing.ready, nothing.unacked), (0, 0));
    assert_eq!(broker.purge(&q).await.expect("purge of one that does not exist"), 0);
    assert!(broker.peek(&q, 5).await.expect("peek").is_empty());
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    let sent: Vec<_> = (0..5).map(message).collect();
    for message in &sent {
        broker.publish(&q, message.clone()).await.expect("publish");
    }
    ready(&*broker, &q, 5).await;
    let peeked = broker.peek(&q, 3).await.expect("peek");
    assert_eq!(peeked.iter().map(as_sent).collect::<Vec<_>>(), sent[..3]);
    ready(&*broker, &q, 5).await;
    assert_eq!(broker.purge(&q).await.expect("purge"), 5);
    ready(&*broker, &q, 0).await;
}

pub async fn a_mebibyte_arrives(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("large"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    let mut sent = message(0);
    sent.body = (0..1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    sent.content_type = "application/x-tradewind".to_owned();
    sent.content_encoding = "binary".to_owned();
    broker.publish(&q, sent.clone()).await.expect("publish");
    let mut delivery = one(&mut *consumer).await;
    assert!(as_sent(content_of(&delivery)) == sent, "a mebibyte came back changed");
    delivery.ack().await.expect("ack");
}

pub async fn headers_arrive_as_sent(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("headers"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    let mut sent = message(0);
    for (name, value) in [
        ("unicode", json!("grüße, 世界 🎈 \"quoted\" \\ \u{1}")),
        ("int", json!(-7)),
        ("long", json!(9_007_199_254_740_993_i64)),
        ("float", json!(0.1)),
        ("null", json!(null)),
        ("flag", json!(true)),
        ("list", json!([30, null, "x", [1.5], {}])),
        ("map", json!({"a": {"b": [{"c": null}]}, "empty": []})),
        ("delivery_tag", json!({"delivery_tag": "not the real one"})),
    ] {
        sent.set_header(name, value);
    }
    broker.publish(&q, sent.clone()).await.expect("publish");
    let mut delivery = one(&mut *consumer).await;
    assert_eq!(as_sent(content_of(&delivery)), sent);
    delivery.release().await.expect("release");
    let mut again = one(&mut *consumer).await;
    assert_eq!(as_sent(content_of(&again)), sent, "changed by a release");
    again.ack().await.expect("ack");
}

pub async fn properties_arrive_as_sent(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("properties"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    let mut sent = message(0);
    sent.reply_to = Some("1565ca34-edfa-32e8-bfde-13134a7d57fb".to_owned());
    sent.expiration_ms = Some(3_600_000);
    sent.priority = 3;
    broker.publish(&q, sent.clone()).await.expect("publish");
    let mut delivery = one(&mut *consumer).await;
    assert_eq!(as_sent(content_of(&delivery)), sent);
    delivery.ack().await.expect("ack");
}

pub async fn a_large_body_is_refused(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("toolarge"));
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    let mut large = message(0);
    large.body = vec![0; MESSAGE_BODY_BYTES_MAX + 1];
    let result = broker.publish(&q, large).await;
    assert!(matches!(&result, Err(Error::TooLarge { .. })), "{result:?}");
    ready(&*broker, &q, 0).await;
}

pub async fn many_report_each(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("many"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 2_000).await.expect("consume");
    let mut batch: Vec<_> =
        (0..1_000).map(|n| Outgoing { queue: q.clone(), message: message(n) }).collect();
    batch[500].message.body = vec![0; MESSAGE_BODY_BYTES_MAX + 1];
    let results = broker.publish_many(batch).await;
    assert_eq!(results.len(), 1_000);
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result.is_err(), n == 500, "{n}: {result:?}");
    }
    let expected: Vec<u64> = (0..1_000).filter(|n| *n != 500).collect();
    assert_eq!(drain(&mut *consumer, 999).await, expected);
}

pub async fn a_bad_queue_name_is_refused(h: &dyn Harness) {
    let broker = h.open().await;
    for name in [String::new(), "x".repeat(300)] {
        let result = broker.declare(std::slice::from_ref(&name)).await;
        assert!(matches!(result, Err(Error::Config(_))), "{result:?}");
        let result = broker.publish(&name, message(0)).await;
        assert!(matches!(result, Err(Error::Config(_))), "{result:?}");
    }
}

pub async fn a_closed_broker_says_so(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("closed"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    fill(&*broker, &q, 1).await;
    drain(&mut *consumer, 1).await;
    broker.health().await.expect("healthy");
    let (ended, ()) = tokio::join!(consumer.next_batch(1), async {
        tokio::time::sleep(super::QUIET).await;
        broker.close().await;
    });
    assert!(ended.is_err(), "a waiting consumer must end");
    assert!(matches!(consumer.next_batch(1).await, Err(Error::Closed)));
    assert!(matches!(broker.publish(&q, message(0)).await, Err(Error::Closed)));
    assert!(matches!(broker.health().await, Err(Error::Closed)));
}

pub async fn the_incarnation_is_stable(h: &dyn Harness) {
    let broker = h.open().await;
    let first = broker.incarnation().await.expect("incarnation");
    assert!(!first.is_empty());
    assert_eq!(broker.incarnation().await.expect("incarnation"), first);
}
