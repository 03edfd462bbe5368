//! `cargo xtask fuzz --broker redis|rabbitmq --seed N --messages M`: the corpus of bad messages at any size.

use std::process::ExitCode;

use tradewind_services::{Rabbit, Redis, RedisOptions};
use tradewind_tests::celery::Setting;
use tradewind_tests::fuzz::fuzz;

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
    // What is wrong ends it with a panic that says so.
    match value("--broker").as_deref() {
        Some("redis") | None => fuzz(&Setting::new(redis.url(), redis.url()), seed, count).await,
        Some("rabbitmq") => {
            let rabbit = Rabbit::start().expect("RabbitMQ starts");
            fuzz(&Setting::new(rabbit.url(), redis.url()), seed, count).await;
        }
        Some(_) => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    println!("every good message completed, every bad one is a dead letter with its reason");
    ExitCode::SUCCESS
}
