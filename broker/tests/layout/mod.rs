//! What is in the server between the calls: kombu's layout, leases, and what Python workers hold.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tradewind_broker::conformance::{drain, fill, message, number, one, queue};
use tradewind_broker::{Broker, BrokerOptions, Payload, open};
use tradewind_proto::clock::SystemClock;
use tradewind_services::{Redis, RedisOptions};

const CELERY: &[u8] = include_bytes!("../data/kombu-envelope.json");
const LEASE: Duration = Duration::from_millis(600);

struct Fixture {
    _server: Redis,
    url: String,
    raw: MultiplexedConnection,
}

impl Fixture {
    async fn new() -> Self {
        let server = Redis::start(RedisOptions::default()).expect("redis");
        let url = server.url().to_owned();
        let client = redis::Client::open(url.as_str()).expect("url");
        let raw = client.get_multiplexed_async_connection().await.expect("connect");
        Self { _server: server, url, raw }
    }

    async fn broker(&self, prefix: &str) -> Arc<dyn Broker> {
        let options = BrokerOptions {
            global_keyprefix: prefix.to_owned(),
            lease_ms: u64::try_from(LEASE.as_millis()).expect("a short lease"),
            ..BrokerOptions::default()
        };
        open(&self.url, &options, Arc::new(SystemClock)).await.expect("open")
    }

    async fn run<T: redis::FromRedisValue>(&mut self, words: &[&[u8]]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query_async(&mut self.raw).await.expect("command")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_celery_message_is_taken_reserved_and_acked() {
    let mut f = Fixture::new().await;
    let broker = f.broker("").await;
    let mut consumer = broker.consume(&["celery".to_owned()], 4).await.expect("consume");
    let _length: i64 = f.run(&[b"LPUSH", b"celery", CELERY]).await;
    let mut delivery = one(&mut *consumer).await;
    let envelope: Value = serde_json::from_slice(CELERY).expect("json");
    let names: Vec<String> = f.run(&[b"HKEYS", b"unacked"]).await;
    let [name] = &names[..] else { panic!("one message is reserved, not {names:?}") };
    let held: String = f.run(&[b"HGET", b"unacked", name.as_bytes()]).await;
    let held: Value = serde_json::from_str(&held).expect("what Python restores is JSON");
    assert_eq!(held, json!([envelope, "", "celery"]));
    let score: f64 = f.run(&[b"ZSCORE", b"unacked_index", name.as_bytes()]).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now");
    assert!((now.as_secs_f64() - score).abs() < 5.0, "{score} is no time of now");
    let bindings: Vec<String> = f.run(&[b"SMEMBERS", b"_kombu.binding.celery"]).await;
    assert_eq!(bindings, ["celery\u{6}\u{16}\u{6}\u{16}celery"]);

    delivery.ack().await.expect("ack");
    for key in ["unacked", "unacked_index", "tradewind:leases"] {
        let there: bool = f.run(&[b"EXISTS", key.as_bytes()]).await;
        assert!(!there, "{key} is left over");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priorities_have_lists_of_their_own_and_a_prefix_is_put_before_all() {
    let mut f = Fixture::new().await;
    let broker = f.broker("app1:").await;
    let mut urgent = message(1);
    urgent.priority = 5;
    broker.publish("q", urgent).await.expect("publish");
    let keys: Vec<String> = f.run(&[b"KEYS", b"*"]).await;
    assert_eq!(keys, ["app1:q\u{6}\u{16}3"]);
    let mut consumer = broker.consume(&["q".to_owned()], 4).await.expect("consume");
    let _held = one(&mut *consumer).await;
    let keys: Vec<String> = f.run(&[b"KEYS", b"*"]).await;
    assert!(keys.iter().all(|key| key.starts_with("app1:")), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_workers_messages_come_back_and_a_living_ones_do_not() {
    let f = Fixture::new().await;
    let (dead, living, heir) = (f.broker("").await, f.broker("").await, f.broker("").await);
    let q = queue("lease");
    fill(&*dead, &q, 2).await;
    let mut of_dead = dead.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    let lost = one(&mut *of_dead).await;
    let mut of_living = living.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    let mut kept = one(&mut *of_living).await;
    let began = Instant::now();
    // Dies: renews no more, and nothing is given back.
    dead.close().await;
    std::mem::forget(lost);
    let mut consumer = heir.consume(std::slice::from_ref(&q), 4).await.expect("consume");
    let mut back = one(&mut *consumer).await;
    assert!(back.redelivered() && number(&back) == 0);
    assert!(began.elapsed() < LEASE * 4, "came back after {:?}", began.elapsed());
    back.ack().await.expect("ack");
    let more = tokio::time::timeout(LEASE * 3, consumer.next_batch(1)).await;
    assert!(more.is_err(), "a renewed lease was taken over: {more:?}");
    kept.ack().await.expect("the living one still holds its message");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_a_dead_worker_held_comes_back_at_once() {
    const HELD: u16 = 4_000;
    let f = Fixture::new().await;
    let (dead, heir) = (f.broker("").await, f.broker("").await);
    let q = queue("lease");
    fill(&*dead, &q, u64::from(HELD)).await;
    let mut of_dead = dead.consume(std::slice::from_ref(&q), HELD).await.expect("consume");
    let mut lost = Vec::new();
    while lost.len() < usize::from(HELD) {
        lost.extend(of_dead.next_batch(usize::from(HELD)).await.expect("messages"));
    }
    // As above.
    dead.close().await;
    std::mem::forget(lost);
    let began = Instant::now();
    let mut consumer = heir.consume(std::slice::from_ref(&q), HELD).await.expect("consume");
    let mut back = Vec::new();
    while back.len() < usize::from(HELD) {
        back.extend(consumer.next_batch(usize::from(HELD)).await.expect("messages"));
    }
    // A hundred per pass would take 14 leases at least.
    assert!(began.elapsed() < LEASE * 12, "came back after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_its_lease_cannot_settle() {
    let f = Fixture::new().await;
    let (slow, heir) = (f.broker("").await, f.broker("").await);
    let q = queue("lease");
    fill(&*slow, &q, 1).await;
    let mut of_slow = slow.consume(std::slice::from_ref(&q), 1).await.expect("consume");
    let mut old = one(&mut *of_slow).await;
    slow.close().await;
    let mut consumer = heir.consume(std::slice::from_ref(&q), 4).await.expect("consume");
    let mut back = one(&mut *consumer).await;
    let late = old.ack().await;
    assert!(matches!(late, Err(tradewind_broker::Error::Stale)), "{late:?}");
    back.extend().await.expect("the late ack did not touch the new delivery");
    back.ack().await.expect("ack");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_python_workers_hold_is_left_alone() {
    let mut f = Fixture::new().await;
    let broker = f.broker("").await;
    // As kombu reserves: long ago, and without a lease of ours.
    let _: i64 = f.run(&[b"HSET", b"unacked", b"their-tag", b"[{},\"\",\"celery\"]"]).await;
    let _: i64 = f.run(&[b"ZADD", b"unacked_index", b"1", b"their-tag"]).await;
    let mut consumer = broker.consume(&["celery".to_owned()], 4).await.expect("consume");
    let taken = tokio::time::timeout(LEASE * 3, consumer.next_batch(1)).await;
    assert!(taken.is_err(), "{taken:?}");
    let score: f64 = f.run(&[b"ZSCORE", b"unacked_index", b"their-tag"]).await;
    assert!((score - 1.0).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_copies_with_one_tag_are_both_delivered() {
    let mut f = Fixture::new().await;
    let broker = f.broker("").await;
    let _: i64 = f.run(&[b"LPUSH", b"celery", CELERY, CELERY]).await;
    let mut consumer = broker.consume(&["celery".to_owned()], 4).await.expect("consume");
    let mut first = one(&mut *consumer).await;
    let mut second = one(&mut *consumer).await;
    first.ack().await.expect("ack");
    second.extend().await.expect("the second one has a reservation of its own");
    second.release().await.expect("release");
    let mut again = one(&mut *consumer).await;
    again.ack().await.expect("ack");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_no_list_costs_no_message_of_another() {
    let mut f = Fixture::new().await;
    let broker = f.broker("").await;
    let (good, bad) = (queue("good"), queue("bad"));
    let _: String = f.run(&[b"SET", bad.as_bytes(), b"no list"]).await;
    fill(&*broker, &good, 3).await;
    let both = [good, bad.clone()];
    let mut consumer = broker.consume(&both, 4).await.expect("consume");
    assert_eq!(drain(&mut *consumer, 3).await, [0, 1, 2]);
    let error = consumer.next_batch(1).await.expect_err("the other queue is broken");
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    let _: i64 = f.run(&[b"DEL", bad.as_bytes()]).await;
    fill(&*broker, &bad, 1).await;
    assert_eq!(drain(&mut *consumer, 1).await, [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_that_cannot_be_written_takes_nothing() {
    let mut f = Fixture::new().await;
    let broker = f.broker("").await;
    let q = queue("kept");
    fill(&*broker, &q, 2).await;
    for key in [&b"unacked"[..], b"unacked_index", b"tradewind:leases", b"tradewind:unreadable"] {
        let _: String = f.run(&[b"SET", key, b"of another type"]).await;
        let mut consumer = broker.consume(std::slice::from_ref(&q), 4).await.expect("consume");
        let error = consumer.next_batch(1).await.expect_err("a key is in the way");
        assert!(error.to_string().contains("WRONGTYPE"), "{error}");
        let length: i64 = f.run(&[b"LLEN", q.as_bytes()]).await;
        assert_eq!(length, 2);
        let _: i64 = f.run(&[b"DEL", key]).await;
    }
    let mut consumer = broker.consume(std::slice::from_ref(&q), 4).await.expect("consume");
    assert_eq!(drain(&mut *consumer, 2).await, [0, 1]);
}

/// The server serves nobody while a script runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_message_without_a_tag_holds_nobody_up() {
    let mut f = Fixture::new().await;
    let broker = f.broker("").await;
    let mut consumer = broker.consume(&["celery".to_owned()], 4).await.expect("consume");
    let long = format!("{{\"pad\": \"{}\"}}", "x".repeat(1_000_000));
    let _: i64 = f.run(&[b"LPUSH", b"celery", CELERY, long.as_bytes()]).await;
    let mut good = one(&mut *consumer).await;
    good.ack().await.expect("ack");
    let mut bad = one(&mut *consumer).await;
    assert!(matches!(bad.payload(), Payload::Malformed { .. }));
    bad.dead_letter("no envelope").await.expect("dead letter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_without_persistence_changes_the_incarnation() {
    let mut server = Redis::start(RedisOptions::default()).expect("redis");
    let options = BrokerOptions::default();
    let broker = open(server.url(), &options, Arc::new(SystemClock)).await.expect("open");
    let before = broker.incarnation().await.expect("incarnation");
    server.kill9();
    server.restart().expect("restart");
    let began = Instant::now();
    let after = loop {
        match broker.incarnation().await {
            Ok(name) => break name,
            Err(error) => assert!(error.is_retryable() && began.elapsed().as_secs() < 10),
        }
    };
    assert_ne!(before, after);
    let q = queue("after");
    fill(&*broker, &q, 3).await;
    let mut consumer = broker.consume(&[q], 4).await.expect("consume");
    assert_eq!(drain(&mut *consumer, 3).await, [0, 1, 2]);
}

/// Commands that the server has run since its statistics were reset, by name.
async fn commands(f: &mut Fixture) -> Vec<(String, u64)> {
    let stats: String = f.run(&[b"INFO", b"commandstats"]).await;
    let count = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    stats.lines().filter_map(count).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_costs_few_commands_and_fewer_round_trips() {
    let mut f = Fixture::new().await;
    // Leases that are not renewed during the test.
    let options = BrokerOptions { lease_ms: 600_000, ..BrokerOptions::default() };
    let broker = open(&f.url, &options, Arc::new(SystemClock)).await.expect("open");
    let q = queue("cost");
    let mut consumer = broker.consume(std::slice::from_ref(&q), 256).await.expect("consume");
    let _: String = f.run(&[b"CONFIG", b"RESETSTAT"]).await;
    fill(&*broker, &q, 1_000).await;
    let mut seen = Vec::new();
    while seen.len() < 1_000 {
        let batch = tradewind_broker::conformance::batch(&mut *consumer, 256).await;
        let acks = batch.into_iter().map(async |mut delivery| {
            delivery.ack().await.expect("ack");
            number(&delivery)
        });
        seen.extend(futures::future::join_all(acks).await);
    }
    assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
    let commands = commands(&mut f).await;
    let of = |name: &str| commands.iter().filter(|(n, _)| n == name).map(|(_, c)| c).sum::<u64>();
    let all: u64 = commands.iter().map(|(_, count)| count).sum();
    // A script call is one round trip; what runs inside counts as commands too.
    assert!(of("evalsha") <= 100, "{} round trips: {commands:?}", of("evalsha"));
    assert!(all <= 3_000, "{all} commands for 1,000 tasks: {commands:?}");
}
