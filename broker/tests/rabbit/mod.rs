//! What is RabbitMQ's own: consumer timeouts, channel numbers, Celery's delay queues.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use tradewind_broker::conformance::{
    Harness, drain, fill, message, number, one, queue, quiet, ready,
};
use tradewind_broker::{Broker, BrokerOptions, Delivery, Error, open};
use tradewind_proto::clock::SystemClock;
use tradewind_services::{Proxy, Rabbit, RabbitOptions};

use super::on_shared;

/// Over the server's two seconds and its looks at each further second.
const LONG: Duration = Duration::from_secs(7);

async fn broker(url: &str, hold_ms: u64) -> Arc<dyn Broker> {
    let options = BrokerOptions { hold_ms, hold_lease_ms: 2_500, ..BrokerOptions::default() };
    open(url, &options, Arc::new(SystemClock)).await.expect("open")
}

fn impatient() -> Rabbit {
    let options = RabbitOptions { consumer_timeout_ms: Some(2_000), ..RabbitOptions::default() };
    Rabbit::start_with(options).expect("rabbitmq")
}

/// Extends for a while, as a worker does; ends early when the delivery is lost.
async fn work(delivery: &Delivery, time: Duration) -> Result<(), Error> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        delivery.extend().await?;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_longer_than_the_consumer_timeout_runs_once() {
    let server = impatient();
    let (holds, naive) = (broker(server.url(), 700).await, broker(server.url(), 0).await);
    let (q, lost) = (queue("long"), queue("lost"));
    let mut consumer = holds.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    let mut other = naive.consume(std::slice::from_ref(&lost), 1).await.expect("consume");
    fill(&*holds, &q, 1).await;
    fill(&*holds, &lost, 1).await;
    let mut held = one(&mut *consumer).await;
    let unheld = one(&mut *other).await;
    let (worked, failed) = tokio::join!(work(&held, LONG), work(&unheld, LONG));
    assert!(matches!(failed, Err(Error::Stale)), "the server takes no long task away: {failed:?}");
    worked.expect("held all the time");
    assert!(quiet(&mut *consumer).await, "delivered again while it was held");
    held.ack().await.expect("ack");
    let heir = broker(server.url(), 0).await;
    let mut heir = heir.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    // As long as a copy that was left somewhere might take to come back.
    let again = tokio::time::timeout(Duration::from_secs(3), heir.next_batch(1)).await;
    assert!(again.is_err(), "delivered again after the ack: {again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_message_comes_back_when_its_holder_is_gone() {
    let harness = on_shared().await;
    let port = harness.url.rsplit(':').next().and_then(|rest| rest.split('/').next());
    let proxy = Proxy::start(port.expect("port").parse().expect("a number")).expect("proxy");
    let (q, direct) = (queue("gone"), broker(&harness.url, 0).await);
    let holder = broker(&proxy.url(&harness.url), 1).await;
    let mut consumer = holder.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    fill(&*direct, &q, 1).await;
    let mut held = one(&mut *consumer).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    held.extend().await.expect("moves");
    let mut heir = direct.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    assert!(quiet(&mut *heir).await, "it is still held");
    proxy.cut();
    let mut back = one(&mut *heir).await;
    assert!(back.redelivered() && number(&back) == 0);
    proxy.restore();
    let late = loop {
        match held.extend().await {
            Err(error) if error.is_retryable() => {}
            other => break other,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(matches!(late, Err(Error::Stale)), "{late:?}");
    assert!(matches!(held.ack().await, Err(Error::Stale)));
    back.ack().await.expect("ack");
    assert!(quiet(&mut *heir).await, "it is there twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_message_can_be_settled_in_every_way() {
    let url = on_shared().await.url;
    let (broker, q) = (broker(&url, 1).await, queue("settled"));
    let mut consumer = broker.consume(std::slice::from_ref(&q), 8).await.expect("consume");
    let held = async |consumer: &mut dyn tradewind_broker::Consumer| {
        let delivery = one(consumer).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        delivery.extend().await.expect("moves");
        delivery
    };
    fill(&*broker, &q, 1).await;
    held(&mut *consumer).await.release().await.expect("release");
    let mut again = held(&mut *consumer).await;
    assert!(again.redelivered() && number(&again) == 0);
    let soon = tradewind_proto::Timestamp::now() + Duration::from_millis(50);
    again.requeue_at(soon).await.expect("requeue");
    held(&mut *consumer).await.dead_letter("held").await.expect("dead letter");
    ready(&*broker, &format!("{q}.dlq"), 1).await;
    let told = broker.dead_letters(&q, 5, None).await.expect("dead letters");
    assert_eq!((told[0].reason.as_str(), &told[0].queue), ("held", &q));
    let left = tokio::time::timeout(Duration::from_secs(3), consumer.next_batch(1)).await;
    assert!(left.is_err(), "a copy was left and came back: {left:?}");
}

/// The client reuses channel numbers after 2,047 channels, and then answers for the new channel what
/// ended the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_refusals_leave_good_answers() {
    let harness = on_shared().await;
    let (broker, there) = (harness.open().await, queue("there"));
    broker.declare(std::slice::from_ref(&there)).await.expect("declare");
    fill(&*broker, &there, 1).await;
    for n in 0..2_100 {
        let missing = broker.stats("no-such-queue").await.expect("a missing queue is empty");
        assert_eq!((missing.ready, n), (0, n));
    }
    assert_eq!(broker.stats(&there).await.expect("stats").ready, 1);
    broker.publish(&there, message(1)).await.expect("publish");
    ready(&*broker, &there, 2).await;
}

/// Publishes as Celery's client does on quorum queues when a task has a countdown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_celery_delays_arrives_in_time() {
    let harness = super::on_quorum().await;
    let broker = harness.open_with(&|options| options.native_delayed_delivery = true).await;
    let q = queue("countdown");
    let mut consumer = broker.consume(std::slice::from_ref(&q), 4).await.expect("consume");
    let url = harness.url.split('?').next().expect("a URL");
    let connection =
        Connection::connect(url, ConnectionProperties::default()).await.expect("connect");
    let channel = connection.create_channel().await.expect("channel");
    let digits: Vec<String> = format!("{:028b}", 2).chars().map(String::from).collect();
    let key = format!("{}.{q}", digits.join("."));
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let (body, properties) = (message(5).body, BasicProperties::default().with_delivery_mode(2));
    let began = Instant::now();
    let exchange = "celery_delayed_27";
    let sent = channel.basic_publish(exchange.into(), key.into(), options, &body, properties);
    sent.await.expect("publish").await.expect("written");
    assert_eq!(drain(&mut *consumer, 1).await, [5]);
    assert!(began.elapsed() >= Duration::from_secs(2), "came after {:?}", began.elapsed());
    assert!(quiet(&mut *consumer).await, "it came twice");
}
