//! Retries: by policy, by error kind, and asked for by the handler.

use std::time::Duration;

use tradewind_proto::celery::Signature;
use tradewind_worker::fleet::testing::LocalWorker;
use tradewind_worker::fleet::{Context, RetryPolicy, TaskError, Tasks};

fn tasks() -> Tasks {
    let mut tasks = Tasks::default();
    // Any failure, at most five times, with full jitter from 10 ms on.
    tasks.add("net.fetch", async |context: Context, (): ()| match context.retries() {
        0 | 1 => Err(TaskError::fail("ConnectionError", "refused")),
        tries => Ok(format!("fetched at retry {tries}")),
    });
    tasks.options("net.fetch", |options| {
        options.retry = RetryPolicy::jittered(5, Duration::from_millis(10));
    });
    // Only what may pass by itself.
    tasks.add("net.parse", async |_context, (text,): (String,)| Ok(text.parse::<i64>()?));
    tasks.options("net.parse", |options| {
        options.retry = RetryPolicy::fixed(5, Duration::from_millis(10));
        options.retry.on = vec!["ConnectionError".to_owned()];
    });
    // The handler knows best.
    tasks.add("net.poll", async |context: Context, (): ()| match context.retries() {
        0 => Err(TaskError::retry_in(Duration::from_millis(20))),
        _ => Ok("ready"),
    });
    tasks
}

#[tokio::main]
pub async fn main() -> Result<(), TaskError> {
    let worker = LocalWorker::start(tasks()).await?;
    let fetched = worker.run(Signature::new("net.fetch")).await?;
    println!("{} {}", fetched.status, fetched.result);
    assert_eq!(fetched.result, "fetched at retry 2");
    let parsed = worker.run(Signature::new("net.parse").arg("x")).await?;
    println!("{} {}", parsed.status, parsed.result);
    assert_eq!(parsed.status, "FAILURE");
    let polled = worker.run(Signature::new("net.poll")).await?;
    assert_eq!(polled.result, "ready");
    worker.stop().await?;
    Ok(())
}
