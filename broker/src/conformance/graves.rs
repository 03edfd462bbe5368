//! Dead letters.

use super::{
    Harness, as_sent, content_of, drain, fill, message, number, one, queue, quiet, ready, tally,
};
use crate::{Broker, Consumer, Payload, Selection};

/// Buries what a consumer gets next.
async fn bury(consumer: &mut dyn Consumer, count: usize) {
    for _ in 0..count {
        let mut delivery = one(consumer).await;
        let reason = format!("reason {}", number(&delivery));
        delivery.dead_letter(&reason).await.expect("dead letter");
    }
}

async fn ids(broker: &dyn Broker, queue: &str) -> Vec<String> {
    let letters = broker.dead_letters(queue, 100, None).await.expect("dead letters");
    letters.into_iter().map(|letter| letter.id).collect()
}

pub async fn dead_letters_are_listed_page_by_page(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("graves"));
    assert!(broker.dead_letters(&q, 5, None).await.expect("of no queue").is_empty());
    let mut consumer = broker.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    fill(&*broker, &q, 5).await;
    bury(&mut *consumer, 5).await;
    let dlq = format!("{q}.dlq");
    ready(&*broker, &dlq, 5).await;
    let mut seen = Vec::new();
    loop {
        let after = seen.last().map(|letter: &crate::DeadLetter| letter.id.clone());
        let page = broker.dead_letters(&q, 2, after.as_deref()).await.expect("dead letters");
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    let reasons: Vec<_> = seen.iter().map(|letter| letter.reason.clone()).collect();
    assert_eq!(reasons, ["reason 0", "reason 1", "reason 2", "reason 3", "reason 4"]);
    for letter in &seen {
        assert_eq!((&letter.queue, letter.task.as_deref()), (&q, Some("tests.case")));
        assert!(letter.at.is_some() && letter.bytes > 0 && letter.task_id.is_some());
    }
    ready(&*broker, &dlq, 5).await;
    assert_eq!(ids(&*broker, &dlq).await.len(), 5, "named by the dead-letter queue itself");
}

pub async fn replayed_letters_are_as_they_were(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("replay"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    let mut sent = message(3);
    sent.set_header("x-tradewind-deaths", 4);
    sent.set_header("retries", 2);
    broker.publish(&q, sent.clone()).await.expect("publish");
    one(&mut *consumer).await.dead_letter("poison").await.expect("dead letter");
    ready(&*broker, &format!("{q}.dlq"), 1).await;
    assert_eq!(broker.replay(&q, &Selection::All).await.expect("replay"), 1);
    let mut back = one(&mut *consumer).await;
    assert_eq!(as_sent(content_of(&back)), sent, "counters kept, reasons gone");
    back.ack().await.expect("ack");
    ready(&*broker, &format!("{q}.dlq"), 0).await;
    assert_eq!(broker.replay(&q, &Selection::All).await.expect("nothing left"), 0);
    assert!(quiet(&mut *consumer).await, "it came twice");
}

pub async fn letters_are_selected_by_id(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("select"));
    let dlq = format!("{q}.dlq");
    let mut consumer = broker.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    fill(&*broker, &q, 6).await;
    bury(&mut *consumer, 6).await;
    ready(&*broker, &dlq, 6).await;
    let letters = broker.dead_letters(&q, 100, None).await.expect("dead letters");
    let task_id = letters[4].task_id.clone().expect("a task id");
    let chosen = Selection::ids([letters[1].id.clone(), task_id, "none".to_owned()]);
    assert_eq!(broker.replay(&q, &chosen).await.expect("replay"), 2);
    assert_eq!(tally(drain(&mut *consumer, 2).await), tally([1, 4]));
    ready(&*broker, &dlq, 4).await;
    let chosen = Selection::ids([letters[2].id.clone(), letters[1].id.clone()]);
    assert_eq!(broker.drop_dead(&q, &chosen).await.expect("drop"), 1);
    ready(&*broker, &dlq, 3).await;
    let left: Vec<_> = [0, 3, 5].map(|n: usize| letters[n].id.clone()).into();
    assert_eq!(ids(&*broker, &q).await, left, "the others keep their order");
    assert_eq!(broker.drop_dead(&q, &Selection::All).await.expect("drop"), 3);
    ready(&*broker, &dlq, 0).await;
    assert!(quiet(&mut *consumer).await, "a dropped letter came back");
}

pub async fn malformed_letters_are_listed_and_come_back_as_bytes(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("bytes"));
    let dlq = format!("{q}.dlq");
    let mut consumer = broker.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    h.inject_malformed(&q).await;
    let raw_of = |payload: &Payload| match payload {
        Payload::Malformed { raw, .. } => raw.clone(),
        other => panic!("{other:?} is no bytes"),
    };
    let mut delivery = one(&mut *consumer).await;
    let raw = raw_of(delivery.payload());
    delivery.dead_letter("unreadable").await.expect("dead letter");
    ready(&*broker, &dlq, 1).await;
    let letters = broker.dead_letters(&q, 9, None).await.expect("dead letters");
    assert_eq!((letters[0].bytes, letters[0].reason.as_str()), (raw.len(), "unreadable"));
    let chosen = Selection::ids([letters[0].id.clone()]);
    assert_eq!(broker.replay(&q, &chosen).await.expect("replay"), 1);
    let mut again = one(&mut *consumer).await;
    assert!(raw_of(again.payload()) == raw, "the bytes have changed");
    again.ack().await.expect("ack");
    // What someone put there himself.
    h.inject_malformed(&dlq).await;
    ready(&*broker, &dlq, 1).await;
    let letters = broker.dead_letters(&q, 9, None).await.expect("dead letters");
    assert_eq!((letters.len(), &letters[0].queue), (1, &q));
    let chosen = Selection::ids([letters[0].id.clone()]);
    assert_eq!(broker.drop_dead(&q, &chosen).await.expect("drop"), 1);
    ready(&*broker, &dlq, 0).await;
}
