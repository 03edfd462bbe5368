//! `cargo xtask fuzz --broker redis|rabbitmq --seed N --messages M`: the corpus of bad messages at any size.

use std::process::ExitCode;

use tradewind_services::{Rabbit, Redis, RedisOptions};
use tradewind_tests::celery::Setting;
use tradewind_tests::fuzz::{fuzz, rates};

/// Most bad messages in the measurement of rates: all of them wait in the broker at once.
const RATED_MAX: usize = 10_000;
const USAGE: &str = "usage: cargo xtask fuzz --broker redis|rabbitmq --seed N --messages M";

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let place = args.iter().position(|arg| arg == name)?;
        args.get(place + 1).cloned()
    };
    let number = |name: &str, default: u64| match value(name) {
        None => Some(default),
        Some(text) => text.parse().ok(),
    };
    let (Some(seed), Some(count)) = (number("--seed", 1), number("--messages", 1_000)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    let rabbit = match value("--broker").as_deref() {
        Some("redis") | None => None,
        Some("rabbitmq") => Some(Rabbit::start().expect("RabbitMQ starts")),
        Some(_) => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let broker = rabbit.as_ref().map_or(redis.url(), Rabbit::url);
    let setting = || Setting::new(broker, redis.url());
    // What is wrong ends it with a panic that says so.
    fuzz(&setting(), seed, count).await;
    println!("every good message completed, every bad one is a dead letter with its reason");
    let rates = rates(&setting(), &setting(), seed, count.min(RATED_MAX)).await;
    println!(
        "one worker, messages per second: {:.0} when all are good, {:.0} when half are bad; ratio {:.2}",
        rates.good,
        rates.mixed,
        rates.mixed / rates.good
    );
    ExitCode::SUCCESS
}
