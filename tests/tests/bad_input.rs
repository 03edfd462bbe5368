//! Bad messages straight into the broker, mixed with good ones, by a client that is not ours.

use std::time::Duration;

use tradewind_broker::client::{Client, ClientOptions, TaskCall};
use tradewind_services::{Rabbit, Redis, RedisOptions};
use tradewind_tests::celery::Setting;
use tradewind_tests::fuzz::fuzz;

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_on_redis_are_dead_letters_with_a_reason() {
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    fuzz(&Setting::new(redis.url(), redis.url()), 7, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_on_rabbitmq_are_dead_letters_with_a_reason() {
    let rabbit = Rabbit::start().expect("RabbitMQ starts");
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    fuzz(&Setting::new(rabbit.url(), redis.url()), 7, 40).await;
}

/// A message whose workers die is set aside, and its neighbours are done.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_workers_is_quarantined() {
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    let setting = Setting::new(redis.url(), redis.url());
    let mut options = ClientOptions::new(setting.broker.clone());
    options.result_url = Some(setting.results.clone());
    options.default_queue = setting.queue.clone();
    let client = Client::connect(options).await.expect("a client");
    let dead = client.send(TaskCall::new("fleet.die")).await.expect("sent");
    let good = client.send(TaskCall::new("fleet.noop")).await.expect("sent");
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    let mut deaths = 0;
    let mut worker = setting.spawn_rust("celery@rust", &[("FLEET_LEASE_MS", "1000")]);
    loop {
        let letters = client.broker().dead_letters(&setting.queue, 10, None).await;
        if let Some(letter) = letters.expect("letters").first() {
            println!("after {deaths} deaths: {}", letter.reason);
            assert_eq!(letter.task.as_deref(), Some("fleet.die"));
            assert!(!letter.reason.is_empty());
            break;
        }
        assert!(std::time::Instant::now() < deadline, "not quarantined after {deaths} deaths");
        if !worker.alive() {
            deaths += 1;
            worker = setting.spawn_rust("celery@rust", &[("FLEET_LEASE_MS", "1000")]);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((2..=10).contains(&deaths), "{deaths} deaths");
    let told = dead.wait(Duration::from_secs(30)).await.expect("its sender is told");
    assert!(format!("{told:?}").contains("WorkerLostError"), "{told:?}");
    good.result::<()>(Duration::from_secs(30)).await.expect("the neighbour is done");
}
