//! Ending deliveries.

use std::time::{Duration, Instant};

use tradewind_proto::Timestamp;
use tradewind_proto::names::{HEADER_DEAD_AT, HEADER_DEAD_QUEUE};

use super::{Harness, content_of, drain, fill, message, number, one, queue, quiet, ready};
use crate::{Error, Payload};

pub async fn ack_removes(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("ack"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    fill(&*broker, &q, 3).await;
    assert_eq!(drain(&mut *consumer, 3).await, [0, 1, 2]);
    consumer.close().await.expect("close");
    drop(consumer);
    let mut other = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    assert!(quiet(&mut *other).await);
}

pub async fn release_redelivers_flagged(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("release"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    fill(&*broker, &q, 1).await;
    let mut first = one(&mut *consumer).await;
    assert!(!first.redelivered());
    let sent = content_of(&first).clone();
    first.release().await.expect("release");
    let mut again = one(&mut *consumer).await;
    assert!(again.redelivered(), "not flagged");
    assert_eq!(content_of(&again), &sent, "changed on the way");
    again.ack().await.expect("ack");
    assert!(quiet(&mut *consumer).await);
}

pub async fn requeue_at_delays(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("later"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    fill(&*broker, &q, 2).await;
    let mut first = one(&mut *consumer).await;
    let sent = content_of(&first).clone();
    let delay = Duration::from_millis(700);
    let began = Instant::now();
    first.requeue_at(Timestamp::now() + delay).await.expect("requeue");
    assert_eq!(drain(&mut *consumer, 1).await, [1], "the other one does not wait");
    let mut again = one(&mut *consumer).await;
    let took = began.elapsed();
    assert!(took >= delay && took < delay * 3, "came after {took:?}");
    let mut back = content_of(&again).clone();
    // The target is served in its own way; only what a consumer reads must be the same.
    back.priority = sent.priority;
    assert_eq!(back, sent);
    again.ack().await.expect("ack");

    broker.publish(&q, message(7)).await.expect("publish");
    let past = Timestamp::now() - Duration::from_secs(60);
    one(&mut *consumer).await.requeue_at(past).await.expect("requeue");
    assert_eq!(drain(&mut *consumer, 1).await, [7], "a past time means at once");
}

pub async fn requeue_at_survives_the_consumer(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("later"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    fill(&*broker, &q, 1).await;
    let at = Timestamp::now() + Duration::from_millis(300);
    one(&mut *consumer).await.requeue_at(at).await.expect("requeue");
    drop(consumer);
    let other = h.open().await;
    let mut consumer = other.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    assert_eq!(drain(&mut *consumer, 1).await, [0]);
}

pub async fn dead_letter_keeps_reason_and_message(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("dead"));
    let dlq = format!("{q}.dlq");
    let mut consumer = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    fill(&*broker, &q, 1).await;
    let mut delivery = one(&mut *consumer).await;
    let sent = content_of(&delivery).clone();
    delivery.dead_letter("no such task: ünknown").await.expect("dead letter");
    ready(&*broker, &dlq, 1).await;
    ready(&*broker, &q, 0).await;
    let peeked = broker.peek(&dlq, 10).await.expect("peek").pop().expect("a dead letter");
    assert_eq!(peeked.dead_reason(), Some("no such task: ünknown"));
    assert_eq!(peeked.header_str(HEADER_DEAD_QUEUE), Some(q.as_str()));
    assert!(peeked.header_str(HEADER_DEAD_AT).is_some());
    assert_eq!((&peeked.body, peeked.id()), (&sent.body, sent.id()));
    let mut graves = broker.consume(std::slice::from_ref(&dlq), 5).await.expect("consume");
    let mut dead = one(&mut *graves).await;
    assert_eq!(content_of(&dead).dead_reason(), Some("no such task: ünknown"));
    dead.ack().await.expect("ack");
    ready(&*broker, &dlq, 0).await;
}

pub async fn malformed_arrives_as_such(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("malformed"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    h.inject_malformed(&q).await;
    let mut delivery = one(&mut *consumer).await;
    let Payload::Malformed { reason, raw } = delivery.payload() else {
        panic!("{:?} is no valid message", delivery.payload())
    };
    assert!(!reason.is_empty() && !raw.is_empty());
    let (reason, raw) = (reason.clone(), raw.clone());
    delivery.dead_letter(&reason).await.expect("dead letter");
    let dlq = format!("{q}.dlq");
    ready(&*broker, &dlq, 1).await;
    let dead = broker.peek(&dlq, 1).await.expect("peek").pop();
    // Too large a body cannot be read from there either, but it is kept.
    if let Some(dead) = dead {
        assert_eq!(dead.dead_reason(), Some(reason.as_str()));
        assert_eq!(dead.body, raw);
    }
    broker.publish(&q, message(1)).await.expect("publish");
    assert_eq!(drain(&mut *consumer, 1).await, [1], "what comes behind it is served");
}

pub async fn a_second_settle_is_an_error(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("twice"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    fill(&*broker, &q, 2).await;
    let mut first = one(&mut *consumer).await;
    first.ack().await.expect("ack");
    assert!(matches!(first.ack().await, Err(Error::AlreadySettled)));
    assert!(matches!(first.release().await, Err(Error::AlreadySettled)));
    assert!(matches!(first.extend().await, Err(Error::AlreadySettled)));
    assert_eq!(drain(&mut *consumer, 1).await, [1]);
    assert!(quiet(&mut *consumer).await, "the second call brought it back");
}

pub async fn a_dropped_delivery_comes_back(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("drop"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    fill(&*broker, &q, 1).await;
    drop(one(&mut *consumer).await);
    let mut again = one(&mut *consumer).await;
    assert!(again.redelivered() && number(&again) == 0);
    again.ack().await.expect("ack");
}

pub async fn a_dropped_consumer_gives_back(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("drop"));
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    fill(&*broker, &q, 6).await;
    let mut consumer = broker.consume(std::slice::from_ref(&q), 4).await.expect("consume");
    let held = one(&mut *consumer).await;
    drop(consumer);
    drop(held);
    ready(&*broker, &q, 6).await;
    let mut other = broker.consume(std::slice::from_ref(&q), 9).await.expect("consume");
    assert_eq!(super::tally(drain(&mut *other, 6).await), super::tally(0..6));
}

pub async fn extend_keeps_it(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("extend"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    fill(&*broker, &q, 1).await;
    let mut delivery = one(&mut *consumer).await;
    delivery.extend().await.expect("extend");
    delivery.extend().await.expect("extend again");
    delivery.ack().await.expect("ack");
}
