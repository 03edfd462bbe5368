//! Rust and Celery workers on one queue, and `kill -9` of either: every task completes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tradewind_broker::client::{Client, ClientOptions, TaskCall, TaskHandle};
use tradewind_services::{Rabbit, Redis, RedisOptions};
use tradewind_tests::celery::{Setting, Version};
use tradewind_tests::poll::{pause, until};

const TASKS: usize = 60;
const LIMIT: Duration = Duration::from_secs(90);
/// Celery's side: threads, so that a kill ends all of it; late ack; a short visibility timeout, without
/// which Celery gives back nothing for an hour.
const PYTHON: &[(&str, &str)] =
    &[("FLEET_POOL", "threads"), ("FLEET_ACKS_LATE", "1"), ("FLEET_VISIBILITY", "6")];
const RUST: &[(&str, &str)] = &[("FLEET_CONCURRENCY", "2"), ("FLEET_LEASE_MS", "3000")];

async fn send(setting: &Setting, ledger: &str) -> Vec<TaskHandle> {
    let mut options = ClientOptions::new(setting.broker.clone());
    options.result_url = Some(setting.results.clone());
    options.default_queue = setting.queue.clone();
    let client = Client::connect(options).await.expect("a client");
    let calls = (0..TASKS)
        .map(|n| TaskCall::new("fleet.mark").args((ledger, format!("t{n}"))).kwarg("seconds", 0.4));
    let sent = client.send_many(calls.collect()).await;
    sent.into_iter().map(|handle| handle.expect("sent")).collect()
}

/// Words of a state, by node.
fn marks(ledger: &str, state: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in std::fs::read_to_string(ledger).unwrap_or_default().lines() {
        let mut words = line.split(' ');
        if let (Some(word), Some(what), Some(node)) = (words.next(), words.next(), words.next())
            && what == state
        {
            found.entry(node.to_owned()).or_default().insert(word.to_owned());
        }
    }
    found
}

async fn both_die(setting: &Setting) {
    let ledger = setting.home().join("ledger.txt").display().to_string();
    let mut rust = setting.rust_worker("celery@rust", RUST);
    let mut python = setting.python_worker(Version::V5_7, "celery@python", PYTHON);
    let handles = send(setting, &ledger).await;
    until("both kinds of worker to finish tasks", LIMIT, || {
        let done = marks(&ledger, "done");
        (done.contains_key("celery@rust") && done.contains_key("celery@python")).then_some(())
    });
    rust.kill9();
    python.kill9();
    let interrupted = |node: &str| {
        let begun = marks(&ledger, "begin").remove(node).unwrap_or_default();
        let done = marks(&ledger, "done").remove(node).unwrap_or_default();
        begun.difference(&done).count()
    };
    println!(
        "killed: {} of Rust, {} of Python",
        interrupted("celery@rust"),
        interrupted("celery@python")
    );
    // As a supervisor would. Celery looks for what a dead worker held when it starts, and then only every
    // 100 seconds: so not before the visibility timeout is over.
    let mut rust = setting.rust_worker("celery@rust2", RUST);
    pause(Duration::from_secs(7));
    let mut python = setting.python_worker(Version::V5_7, "celery@python2", PYTHON);
    let mut all = BTreeSet::new();
    for handle in &handles {
        let meta = handle.wait(LIMIT).await.expect("it ends");
        assert_eq!(meta.status, "SUCCESS", "{meta:?}");
        all.insert(meta.result.to_string());
    }
    assert_eq!(all.len(), TASKS);
    let done = marks(&ledger, "done");
    let finished: BTreeSet<&String> = done.values().flatten().collect();
    assert_eq!(finished.len(), TASKS, "{done:?}");
    assert!(rust.alive() && python.alive());
    assert!(done.contains_key("celery@rust2") && done.contains_key("celery@python2"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_fleet_on_redis_loses_nothing() {
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    both_die(&Setting::new(redis.url(), redis.url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_fleet_on_rabbitmq_loses_nothing() {
    let rabbit = Rabbit::start().expect("RabbitMQ starts");
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    both_die(&Setting::new(rabbit.url(), redis.url())).await;
}
