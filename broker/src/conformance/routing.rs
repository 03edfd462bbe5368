//! Which queues a consumer serves, and which ones a message reaches.

use serde_json::json;
use tradewind_proto::Timestamp;
use tradewind_proto::names::HEADER_SENT_AT;

use super::{Harness, content_of, drain, fill, message, one, queue, quiet, ready, tally};
use crate::{Error, ExchangeType, QueueBinding, QueueOrder};

pub async fn queues_are_added_and_cancelled(h: &dyn Harness) {
    let (broker, a, b) = (h.open().await, queue("added"), queue("added"));
    let mut consumer = broker.consume(&[], 10).await.expect("consume");
    assert!(quiet(&mut *consumer).await, "without queues it waits");
    consumer.add_queue(&a).await.expect("add");
    fill(&*broker, &a, 3).await;
    assert_eq!(drain(&mut *consumer, 3).await, [0, 1, 2]);
    consumer.add_queue(&b).await.expect("add");
    consumer.add_queue(&b).await.expect("add again");
    assert_eq!(consumer.queues(), [a.clone(), b.clone()]);
    fill(&*broker, &b, 2).await;
    assert_eq!(drain(&mut *consumer, 2).await, [0, 1]);
    consumer.cancel_queue(&a).await.expect("cancel");
    consumer.cancel_queue(&b).await.expect("cancel");
    assert!(quiet(&mut *consumer).await, "with all queues cancelled it waits");
    consumer.add_queue(&a).await.expect("add once more");
    fill(&*broker, &a, 1).await;
    assert_eq!(drain(&mut *consumer, 1).await, [0]);
    consumer.close().await.expect("close");
}

pub async fn a_cancelled_queues_messages_go_back(h: &dyn Harness) {
    let (broker, a, b) = (h.open().await, queue("cancelled"), queue("kept"));
    let mut consumer = broker.consume(&[a.clone(), b.clone()], 10).await.expect("consume");
    fill(&*broker, &a, 5).await;
    let mut held = one(&mut *consumer).await;
    assert_eq!(*held.queue, a);
    consumer.cancel_queue(&a).await.expect("cancel");
    consumer.cancel_queue(&a).await.expect("cancel again");
    assert_eq!(consumer.queues(), std::slice::from_ref(&b));
    ready(&*broker, &a, 4).await;
    held.ack().await.expect("what was returned before can be settled");
    broker.publish(&b, message(9)).await.expect("publish");
    assert_eq!(drain(&mut *consumer, 1).await, [9], "the other queue is served");
    assert!(quiet(&mut *consumer).await, "a cancelled queue is served");
    consumer.add_queue(&a).await.expect("add");
    assert_eq!(tally(drain(&mut *consumer, 4).await), tally(1..5));
}

pub async fn strict_order_empties_the_first_queue_first(h: &dyn Harness) {
    let broker = h.open_with(&|options| options.queue_order = QueueOrder::Strict).await;
    let (first, second) = (queue("first"), queue("second"));
    broker.declare(&[first.clone(), second.clone()]).await.expect("declare");
    fill(&*broker, &second, 5).await;
    let mut urgent = message(7);
    urgent.priority = if broker.capabilities().zero_first { 0 } else { 9 };
    broker.publish(&second, urgent).await.expect("publish");
    fill(&*broker, &first, 20).await;
    let mut consumer = broker.consume(&[first.clone(), second.clone()], 4).await.expect("consume");
    let mut served = Vec::new();
    while served.len() < 26 {
        for mut delivery in super::batch(&mut *consumer, 3).await {
            served.push(delivery.queue.clone());
            delivery.ack().await.expect("ack");
        }
    }
    assert!(served[..20].iter().all(|queue| **queue == first), "{served:?}");
    assert!(served[20..].iter().all(|queue| **queue == second), "{served:?}");
}

pub async fn weights_are_shares(h: &dyn Harness) {
    let (large, small) = (queue("large"), queue("small"));
    let weights = [(large.clone(), 3), (small.clone(), 1)];
    let broker = h
        .open_with(&|options| {
            options.queue_order = QueueOrder::Weighted;
            options.queue_weights = weights.clone().into();
        })
        .await;
    broker.declare(&[large.clone(), small.clone()]).await.expect("declare");
    fill(&*broker, &large, 60).await;
    fill(&*broker, &small, 60).await;
    let mut consumer = broker.consume(&[small.clone(), large.clone()], 8).await.expect("consume");
    let mut of_large = 0;
    let mut seen = 0;
    while seen < 60 {
        for mut delivery in super::batch(&mut *consumer, 5.min(60 - seen)).await {
            seen += 1;
            of_large += usize::from(*delivery.queue == large);
            delivery.ack().await.expect("ack");
        }
    }
    assert!((44..=46).contains(&of_large), "{of_large} of 60, not three quarters");
    // The other one's turns are not waited for.
    assert_eq!(drain(&mut *consumer, 60).await.len(), 60);
}

fn bound(exchange: &str, exchange_type: ExchangeType, routing_key: &str) -> QueueBinding {
    let (exchange, routing_key) = (exchange.to_owned(), routing_key.to_owned());
    QueueBinding { exchange, exchange_type, routing_key }
}

pub async fn a_routing_key_reaches_the_bound_queues(h: &dyn Harness) {
    let broker = h.open().await;
    let (direct, topic, fanout) = (queue("direct"), queue("topic"), queue("fanout"));
    let (a, b) = (queue("bound"), queue("bound"));
    let bindings = [
        (&a, bound(&direct, ExchangeType::Direct, "red")),
        (&b, bound(&direct, ExchangeType::Direct, "blue")),
        (&a, bound(&topic, ExchangeType::Topic, "mail.*")),
        (&b, bound(&topic, ExchangeType::Topic, "mail.#")),
        (&b, bound(&topic, ExchangeType::Topic, "mail.in.#")),
        (&a, bound(&fanout, ExchangeType::Fanout, "")),
        (&b, bound(&fanout, ExchangeType::Fanout, "")),
    ];
    for (queue, binding) in &bindings {
        broker.bind(queue, binding).await.expect("bind");
        broker.bind(queue, binding).await.expect("bind again");
    }
    let cases: [(&str, &str, &[&String]); 6] = [
        (&direct, "red", &[&a]),
        (&direct, "blue", &[&b]),
        (&topic, "mail.in", &[&a, &b]),
        (&topic, "mail.in.today", &[&b]),
        (&fanout, "whatever", &[&a, &b]),
        ("", &a, &[&a]),
    ];
    for (n, (exchange, key, reached)) in (0..).zip(cases) {
        broker.publish_routed(exchange, key, message(n)).await.expect("publish");
        for queue in [&a, &b] {
            let copies = u64::from(reached.contains(&queue));
            ready(&*broker, queue, copies).await;
            if copies > 0 {
                let mut consumer =
                    broker.consume(std::slice::from_ref(queue), 1).await.expect("consume");
                assert_eq!(drain(&mut *consumer, 1).await, [n], "{exchange} {key}");
                consumer.close().await.expect("close");
            }
        }
    }
}

pub async fn a_key_that_reaches_no_queue_is_unroutable(h: &dyn Harness) {
    let (broker, exchange, q) = (h.open().await, queue("exchange"), queue("bound"));
    let nowhere = broker.publish_routed(&exchange, "red", message(0)).await;
    assert!(matches!(nowhere, Err(Error::Unroutable { .. })), "no such exchange: {nowhere:?}");
    broker.bind(&q, &bound(&exchange, ExchangeType::Direct, "red")).await.expect("bind");
    let nowhere = broker.publish_routed(&exchange, "blue", message(1)).await;
    assert!(matches!(nowhere, Err(Error::Unroutable { .. })), "no such key: {nowhere:?}");
    broker.publish_routed(&exchange, "red", message(2)).await.expect("publish");
    ready(&*broker, &q, 1).await;
}

pub async fn all_queues_are_told(h: &dyn Harness) {
    let (broker, a, b) = (h.open().await, queue("told"), queue("told"));
    broker.declare(std::slice::from_ref(&a)).await.expect("declare");
    broker.bind(&b, &bound(&queue("exchange"), ExchangeType::Topic, "#")).await.expect("bind");
    let mut consumer = broker.consume(std::slice::from_ref(&a), 1).await.expect("consume");
    fill(&*broker, &a, 1).await;
    one(&mut *consumer).await.dead_letter("told").await.expect("dead letter");
    let told = broker.all_queues().await.expect("all queues").expect("the driver can tell");
    for name in [&a, &b, &format!("{a}.dlq")] {
        assert!(told.contains(name), "{name} is not in {told:?}");
    }
    assert!(told.is_sorted());
}

pub async fn messages_say_when_they_were_sent(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("sent"));
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    let before = Timestamp::now() - std::time::Duration::from_millis(1);
    broker.publish(&q, message(0)).await.expect("publish");
    let mut old = message(1);
    old.set_header(HEADER_SENT_AT, json!("2020-01-01T00:00:00Z"));
    broker.publish(&q, old).await.expect("publish");
    let mut consumer = broker.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    for expected in [None, Some("2020-01-01T00:00:00Z")] {
        let mut delivery = one(&mut *consumer).await;
        let sent = content_of(&delivery).header_str(HEADER_SENT_AT).expect("a time").to_owned();
        match expected {
            Some(expected) => assert_eq!(sent, expected, "what the sender wrote was changed"),
            None => {
                let sent: Timestamp = sent.parse().expect("RFC 3339");
                assert!(sent >= before && sent <= Timestamp::now(), "{sent} is not now");
            }
        }
        delivery.ack().await.expect("ack");
    }
}

pub async fn the_oldest_message_is_told(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("oldest"));
    assert_eq!(broker.oldest(&q).await.expect("oldest"), None, "of a queue that is not there");
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    assert_eq!(broker.oldest(&q).await.expect("oldest"), None, "of an empty queue");
    let mut old = message(0);
    old.set_header(HEADER_SENT_AT, json!("2020-01-01T00:00:00Z"));
    broker.publish(&q, old).await.expect("publish");
    broker.publish(&q, message(1)).await.expect("publish");
    ready(&*broker, &q, 2).await;
    for _ in 0..2 {
        let oldest = broker.oldest(&q).await.expect("oldest").expect("a time");
        assert_eq!(oldest.to_string(), "2020-01-01T00:00:00Z");
    }
    ready(&*broker, &q, 2).await;
    let mut consumer = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    assert_eq!(drain(&mut *consumer, 2).await, [0, 1], "asking changed the queue");
}
