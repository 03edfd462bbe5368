//! The other way round: our client and a Celery worker. Tasks are sent and results read in Rust.

use std::time::Duration;

use serde_json::{Value, json};
use tradewind_broker::client::{Client, ClientError, ClientOptions, TaskCall};
use tradewind_proto::celery::Signature;
use tradewind_services::{Rabbit, Redis, RedisOptions};
use tradewind_tests::celery::{Setting, Version};

const LIMIT: Duration = Duration::from_secs(60);

async fn client(setting: &Setting) -> Client {
    let mut options = ClientOptions::new(setting.broker.clone());
    options.result_url = Some(setting.results.clone());
    options.default_queue = setting.queue.clone();
    Client::connect(options).await.expect("a client")
}

fn task(name: &str) -> Signature {
    Signature::new(format!("fleet.{name}"))
}

async fn single_tasks(client: &Client) {
    let call = TaskCall::new("fleet.add").args((2, 3));
    let sum = client.send(call).await.expect("sent");
    assert_eq!(sum.result::<i64>(LIMIT).await.expect("a result"), 5);
    assert_eq!(sum.state().await.expect("a state"), "SUCCESS");

    let call = TaskCall::new("fleet.return_kwargs").kwarg("a", json!([1, null, "ü"]));
    let kwargs = client.send(call).await.expect("sent");
    let kwargs: Value = kwargs.result(LIMIT).await.expect("a result");
    assert_eq!(kwargs, json!({"a": [1, null, "ü"]}));

    let call = TaskCall::new("fleet.priority").priority(5);
    let priority = client.send(call).await.expect("sent");
    assert_eq!(priority.result::<u8>(LIMIT).await.expect("a result"), 5);

    let failed = client.send(TaskCall::new("fleet.fail").arg("broken pipe")).await.expect("sent");
    match failed.result::<Value>(LIMIT).await {
        Err(ClientError::Failed { exception, traceback, .. }) => {
            assert_eq!(exception.exc_type, "ValueError");
            assert_eq!(exception.exc_message, [json!("broken pipe")]);
            assert!(traceback.expect("a traceback").contains("broken pipe"));
        }
        other => panic!("{other:?}"),
    }

    let retried = client.send(TaskCall::new("fleet.retry_once")).await.expect("sent");
    assert_eq!(retried.result::<u32>(LIMIT).await.expect("a result"), 1);

    let late = TaskCall::new("fleet.add").args((1, 1)).countdown(Duration::from_secs(1));
    let begun = std::time::Instant::now();
    let late = client.send(late).await.expect("sent");
    assert_eq!(late.result::<i64>(LIMIT).await.expect("a result"), 2);
    assert!(begun.elapsed() >= Duration::from_millis(900), "it was not due yet");

    let calls = (0..50).map(|n| TaskCall::new("fleet.add").args((n, n))).collect();
    for (n, handle) in client.send_many(calls).await.into_iter().enumerate() {
        let sum: usize = handle.expect("sent").result(LIMIT).await.expect("a result");
        assert_eq!(sum, 2 * n);
    }
}

async fn follow_ups(client: &Client) {
    let linked = task("add").args([1.into(), 1.into()]).link(task("mul").arg(10));
    let linked = client.apply(linked).await.expect("sent");
    assert_eq!(linked.result::<i64>(LIMIT).await.expect("a result"), 2);
    let children = linked.children().await.expect("children");
    assert_eq!(children[0].result::<i64>(LIMIT).await.expect("a result"), 20);

    let first = task("add").args([1.into(), 1.into()]);
    let chain = Signature::chain([first, task("mul").arg(10), task("add").arg(3)]);
    let chain = client.apply(chain).await.expect("sent");
    assert_eq!(chain.result::<i64>(LIMIT).await.expect("a result"), 23);

    let parts = |n: i64| task("add").args([n.into(), n.into()]);
    let group = client.apply(Signature::group((0..5).map(parts))).await.expect("sent");
    assert_eq!(group.result::<Vec<i64>>(LIMIT).await.expect("results"), [0, 2, 4, 6, 8]);
}

async fn chords(client: &Client) {
    let parts = |n: i64| task("add").args([n.into(), n.into()]);
    let chord = Signature::chord((0..5).map(parts), task("tsum"));
    let chord = client.apply(chord).await.expect("sent");
    assert_eq!(chord.result::<i64>(LIMIT).await.expect("a result"), 20);
}

async fn on_redis(version: Version) {
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    let setting = Setting::new(redis.url(), redis.url());
    let _worker = setting.python_worker(version, "celery@python", &[]);
    let client = client(&setting).await;
    single_tasks(&client).await;
    follow_ups(&client).await;
    chords(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn celery_5_6_works_for_us_on_redis() {
    on_redis(Version::V5_6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn celery_5_7_works_for_us_on_redis() {
    on_redis(Version::V5_7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn celery_5_7_works_for_us_on_rabbitmq_with_rpc_results() {
    let rabbit = Rabbit::start().expect("RabbitMQ starts");
    let setting = Setting::new(rabbit.url(), "rpc://");
    let _worker = setting.python_worker(Version::V5_7, "celery@python", &[]);
    single_tasks(&client(&setting).await).await;
}
