//! Taking messages.

use std::time::{Duration, Instant};

use super::{Harness, batch, drain, fill, message, number, one, queue, quiet, ready, tally};

pub async fn messages_arrive_in_order(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("order"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 100).await.expect("consume");
    for n in 0..10 {
        broker.publish(&q, message(n)).await.expect("publish");
    }
    assert_eq!(drain(&mut *consumer, 10).await, (0..10).collect::<Vec<_>>());
}

pub async fn a_batch_has_at_most_max(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("batch"));
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    fill(&*broker, &q, 10).await;
    let mut consumer = broker.consume(std::slice::from_ref(&q), 100).await.expect("consume");
    let mut seen = Vec::new();
    while seen.len() < 10 {
        let got = batch(&mut *consumer, 3).await;
        assert!((1..=3).contains(&got.len()), "{} in a batch of 3", got.len());
        for mut delivery in got {
            seen.push(number(&delivery));
            delivery.ack().await.expect("ack");
        }
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

/// Drivers may read ahead under load, for a reader that wants now more and now less.
pub async fn large_batches_of_any_size_arrive_in_order(h: &dyn Harness) {
    const COUNT: u64 = 400;
    let (broker, q) = (h.open().await, queue("large"));
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    fill(&*broker, &q, COUNT).await;
    let mut consumer = broker.consume(std::slice::from_ref(&q), 200).await.expect("consume");
    let mut seen = Vec::new();
    for max in [64, 32, 32, 48, 100, 7].into_iter().cycle() {
        for mut delivery in batch(&mut *consumer, max).await {
            assert!(!delivery.redelivered(), "{} came twice", number(&delivery));
            seen.push(number(&delivery));
            delivery.ack().await.expect("ack");
        }
        if seen.len() >= usize::try_from(COUNT).expect("few") {
            break;
        }
    }
    assert_eq!(seen, (0..COUNT).collect::<Vec<_>>());
    ready(&*broker, &q, 0).await;
}

pub async fn prefetch_is_never_exceeded(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("prefetch"));
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    fill(&*broker, &q, 10).await;
    let mut consumer = broker.consume(std::slice::from_ref(&q), 4).await.expect("consume");
    let mut held = Vec::new();
    while held.len() < 4 {
        held.extend(batch(&mut *consumer, 100).await);
    }
    assert_eq!(held.len(), 4);
    assert!(quiet(&mut *consumer).await, "a fifth one arrived");
    ready(&*broker, &q, 6).await;
    held.remove(0).ack().await.expect("ack");
    assert_eq!(number(&one(&mut *consumer).await), 4);
}

pub async fn a_changed_prefetch_loses_nothing(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("changed"));
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    fill(&*broker, &q, 40).await;
    let mut consumer = broker.consume(std::slice::from_ref(&q), 4).await.expect("consume");
    let mut held = batch(&mut *consumer, 2).await;
    consumer.set_prefetch(16).await.expect("more");
    let mut seen = drain(&mut *consumer, 10).await;
    consumer.set_prefetch(4).await.expect("fewer");
    for delivery in &mut held {
        seen.push(number(delivery));
        delivery.ack().await.expect("what was returned before can be settled");
    }
    seen.extend(drain(&mut *consumer, 40 - seen.len()).await);
    assert_eq!(tally(seen), tally(0..40));
    assert!(quiet(&mut *consumer).await, "something came twice");
    ready(&*broker, &q, 0).await;
}

pub async fn pause_gives_back(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("pause"));
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    fill(&*broker, &q, 10).await;
    let mut consumer = broker.consume(std::slice::from_ref(&q), 8).await.expect("consume");
    let mut first = one(&mut *consumer).await;
    consumer.pause().await.expect("pause");
    ready(&*broker, &q, 9).await;
    let mut other = broker.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    let mut seen = drain(&mut *other, 1).await;
    other.close().await.expect("close");
    first.ack().await.expect("what was returned before the pause can be settled");
    seen.extend(drain(&mut *consumer, 8).await);
    assert_eq!(tally(seen), tally(1..10));
    assert!(quiet(&mut *consumer).await, "something came twice");
}

pub async fn what_is_given_back_keeps_its_place(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("place"));
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    fill(&*broker, &q, 10).await;
    let mut consumer = broker.consume(std::slice::from_ref(&q), 8).await.expect("consume");
    let mut first = one(&mut *consumer).await;
    first.release().await.expect("release");
    consumer.pause().await.expect("pause");
    ready(&*broker, &q, 10).await;
    assert_eq!(drain(&mut *consumer, 10).await, (0..10).collect::<Vec<_>>());
}

pub async fn a_closed_consumer_gives_back_and_returned_ones_stay_settleable(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("close"));
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    fill(&*broker, &q, 5).await;
    let mut consumer = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    let mut first = one(&mut *consumer).await;
    consumer.close().await.expect("close");
    consumer.close().await.expect("closing twice does no harm");
    assert!(consumer.next_batch(1).await.is_err(), "a closed consumer takes nothing");
    drop(consumer);
    ready(&*broker, &q, 4).await;
    first.ack().await.expect("settle after close");
    let mut other = broker.consume(std::slice::from_ref(&q), 9).await.expect("consume");
    assert_eq!(drain(&mut *other, 4).await, [1, 2, 3, 4]);
    assert!(quiet(&mut *other).await, "the acked one came back");
}

pub async fn two_consumers_share(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("share"));
    let mut a = broker.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    let mut b = broker.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    fill(&*broker, &q, 40).await;
    let take = async |consumer: &mut dyn crate::Consumer| {
        let mut seen = Vec::new();
        for _ in 0..10 {
            seen.extend(drain(consumer, 1).await);
        }
        seen
    };
    // Each gets its share while the other one works.
    let (mut seen, more) = tokio::join!(take(&mut *a), take(&mut *b));
    seen.extend(more);
    seen.extend(drain(&mut *a, 19).await);
    b.close().await.expect("close");
    seen.extend(drain(&mut *a, 1).await);
    assert_eq!(tally(seen), tally(0..40));
}

pub async fn a_full_queue_does_not_block_another(h: &dyn Harness) {
    let (broker, full, small) = (h.open().await, queue("full"), queue("small"));
    let queues = [full.clone(), small.clone()];
    let mut consumer = broker.consume(&queues, 4).await.expect("consume");
    fill(&*broker, &full, 300).await;
    broker.publish(&small, message(999)).await.expect("publish");
    for taken in 0..300 {
        let mut delivery = one(&mut *consumer).await;
        let number = number(&delivery);
        delivery.ack().await.expect("ack");
        if *delivery.queue == small {
            assert_eq!(number, 999);
            return;
        }
        assert!(taken < 250, "the small queue waited behind {taken} messages of the full one");
    }
}

pub async fn a_cancelled_wait_loses_nothing(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("cancel"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 10).await.expect("consume");
    let mut seen = Vec::new();
    for n in 0..60 {
        broker.publish(&q, message(n)).await.expect("publish");
        // Cut off at ever different points of the wait.
        let limit = Duration::from_micros(n * 37);
        if let Ok(Ok(got)) = tokio::time::timeout(limit, consumer.next_batch(5)).await {
            for mut delivery in got {
                seen.push(number(&delivery));
                delivery.ack().await.expect("ack");
            }
        }
    }
    let left = 60 - seen.len();
    seen.extend(drain(&mut *consumer, left).await);
    assert_eq!(tally(seen), tally(0..60));
}

pub async fn priority_goes_first(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("priority"));
    assert!(broker.capabilities().priorities);
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    for (n, priority) in [(0, 3), (1, 9), (2, 0), (3, 6)] {
        let mut message = message(n);
        message.priority = priority;
        broker.publish(&q, message).await.expect("publish");
    }
    ready(&*broker, &q, 4).await;
    let mut consumer = broker.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    let zero_first = broker.capabilities().zero_first;
    let expected = if zero_first { [2, 0, 3, 1] } else { [1, 3, 0, 2] };
    assert_eq!(drain(&mut *consumer, 4).await, expected);
}

pub async fn an_idle_consumer_wakes_fast(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("wake"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    assert!(quiet(&mut *consumer).await);
    let mut best = Duration::MAX;
    for n in 0..20 {
        let publisher = async {
            // Long enough for the consumer to fall into its longest pause.
            tokio::time::sleep(Duration::from_millis(30)).await;
            let began = Instant::now();
            broker.publish(&q, message(n)).await.expect("publish");
            began
        };
        let (began, seen) = tokio::join!(publisher, async {
            let mut delivery = one(&mut *consumer).await;
            let at = Instant::now();
            delivery.ack().await.expect("ack");
            at
        });
        best = best.min(seen.saturating_duration_since(began));
    }
    assert!(best < Duration::from_millis(8), "the best of 20 wakes took {best:?}");
}
