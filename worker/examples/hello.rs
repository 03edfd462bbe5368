//! Hello, task: typed arguments, positional and by keyword, and a typed result.
//!
//! A service does the same with `FleetWorker::builder(broker, results)` and drivers that it opens by URL.

use serde::Deserialize;
use serde_json::json;
use tradewind_proto::celery::Signature;
use tradewind_worker::fleet::testing::{LocalWorker, run_inline};
use tradewind_worker::fleet::{TaskError, Tasks};

#[derive(Deserialize)]
struct Greeting {
    name: String,
    #[serde(default)]
    times: Option<u32>,
}

fn tasks() -> Tasks {
    let mut tasks = Tasks::default();
    tasks.add("hello.add", async |_context, (a, b): (i64, i64)| Ok(a + b));
    tasks.add("hello.greet", async |_context, greeting: Greeting| {
        let line = format!("Hello, {}!", greeting.name);
        Ok(vec![line; greeting.times.unwrap_or(1) as usize])
    });
    // On a thread of its own: it may block.
    tasks.add_blocking("hello.count", |_context, (text,): (String,)| Ok(text.len()));
    tasks
}

#[tokio::main]
pub async fn main() -> Result<(), TaskError> {
    // A unit test of a task needs no worker.
    let sum = run_inline(&tasks(), "hello.add", &[json!(2), json!(3)], &json!({})).await?;
    println!("2 + 3 = {sum}");

    let worker = LocalWorker::start(tasks()).await?;
    let call = Signature::new("hello.greet").arg("fleet").kwarg("times", 2);
    let done = worker.run(call).await?;
    println!("{} {}", done.status, done.result);
    let done = worker.run(Signature::new("hello.count").arg("twelve chars")).await?;
    assert_eq!(done.result, json!(12));
    let wrong = worker.run(Signature::new("hello.add").arg(1)).await?;
    println!("{} {}", wrong.status, wrong.result);
    assert_eq!(wrong.status, "FAILURE");
    worker.stop().await?;
    Ok(())
}
