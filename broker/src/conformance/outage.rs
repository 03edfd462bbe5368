//! The server is killed, or the link is cut.

use std::time::{Duration, Instant};

use super::{Harness, SOON, drain, fill, message, number, one, queue, tally};
use crate::{Broker, Error};

/// How long a consumer may need to work again.
const MENDED: Duration = Duration::from_secs(10);

async fn publish_until_it_works(broker: &dyn Broker, queue: &str, n: u64) {
    let began = Instant::now();
    while let Err(error) = broker.publish(queue, message(n)).await {
        assert!(error.is_retryable(), "cannot be retried: {error}");
        assert!(began.elapsed() < SOON, "still away: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn a_killed_server_loses_nothing(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("kill"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 3).await.expect("consume");
    fill(&*broker, &q, 20).await;
    let mut seen = drain(&mut *consumer, 5).await;
    let held = one(&mut *consumer).await;
    let held_number = number(&held);
    h.kill().await;
    drop(held);
    h.restart().await;
    let up = Instant::now();
    publish_until_it_works(&*broker, &q, 100).await;
    seen.extend(drain(&mut *consumer, 1).await);
    assert!(up.elapsed() < MENDED, "consuming again took {:?}", up.elapsed());
    // An ack that the server did not write down may bring a message again; none may be missing.
    let wanted = |seen: &[u64]| (0..20).chain([100]).all(|n| seen.contains(&n));
    while !wanted(&seen) {
        seen.extend(drain(&mut *consumer, 1).await);
    }
    assert!(seen.contains(&held_number), "what was held came back");
}

pub async fn a_cut_link_is_mended(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("cut"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 5).await.expect("consume");
    fill(&*broker, &q, 10).await;
    let mut seen = drain(&mut *consumer, 4).await;
    // AMQP does not answer an ack: it has arrived when the freed prefetch was filled again.
    while broker.kind() == "rabbitmq" && broker.stats(&q).await.expect("stats").ready > 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    h.cut().await;
    assert!(broker.publish(&q, message(50)).await.is_err_and(|error| error.is_retryable()));
    h.restore().await;
    let up = Instant::now();
    publish_until_it_works(&*broker, &q, 100).await;
    while !(0..10).chain([100]).all(|n| seen.contains(&n)) {
        seen.extend(drain(&mut *consumer, 1).await);
    }
    assert!(up.elapsed() < MENDED, "all back only after {:?}", up.elapsed());
    let twice: Vec<_> = tally(seen).into_iter().filter(|(n, count)| *n < 4 && *count > 1).collect();
    assert!(twice.is_empty(), "acked before the cut and delivered again: {twice:?}");
}

pub async fn publishing_while_it_is_away_can_be_retried(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("away"));
    broker.declare(std::slice::from_ref(&q)).await.expect("declare");
    broker.publish(&q, message(0)).await.expect("publish");
    h.kill().await;
    let began = Instant::now();
    let error = broker.publish(&q, message(1)).await.expect_err("the server is away");
    assert!(error.is_retryable(), "{error}");
    assert!(broker.health().await.is_err_and(|error| error.is_retryable()));
    let many = broker.publish_many(vec![crate::Outgoing { queue: q.clone(), message: message(2) }]);
    assert!(many.await.remove(0).is_err_and(|error| error.is_retryable()));
    assert!(began.elapsed() < SOON, "errors came after {:?}", began.elapsed());
    assert!(!format!("{error} {error:?}").contains("guest"), "credentials shown: {error}");
    h.restart().await;
    publish_until_it_works(&*broker, &q, 1).await;
    broker.health().await.expect("healthy again");
}

pub async fn a_delivery_from_before_the_outage_is_stale(h: &dyn Harness) {
    let (broker, q) = (h.open().await, queue("stale"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 3).await.expect("consume");
    fill(&*broker, &q, 1).await;
    let mut old = one(&mut *consumer).await;
    h.cut().await;
    h.restore().await;
    let mut again = one(&mut *consumer).await;
    assert!(again.redelivered() && number(&again) == 0);
    assert!(matches!(old.ack().await, Err(Error::Stale)), "an old delivery was settled");
    again.ack().await.expect("ack");
}
