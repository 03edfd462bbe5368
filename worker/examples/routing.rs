//! Routing: tasks with queues of their own, and a worker that takes from more queues at run time.

use serde_json::json;
use tradewind_broker::Broker as _;
use tradewind_proto::celery::Signature;
use tradewind_worker::fleet::testing::LocalWorker;
use tradewind_worker::fleet::{Context, TaskError, Tasks};

fn tasks() -> Tasks {
    let mut tasks = Tasks::default();
    tasks.add("where.am_i", async |context: Context, (): ()| Ok(context.queue().to_owned()));
    tasks.add("mail.send", async |context: Context, (_to,): (String,)| {
        Ok(context.queue().to_owned())
    });
    // Whatever follows another task and has no queue named goes there.
    tasks.options("mail.send", |options| options.queue = Some("mail".to_owned()));
    tasks
}

#[tokio::main]
pub async fn main() -> Result<(), TaskError> {
    let worker = LocalWorker::start(tasks()).await?;
    worker.broker.declare(&["mail".to_owned()]).await?;
    let here = worker.run(Signature::new("where.am_i")).await?;
    assert_eq!(here.result, json!("celery"));

    let elsewhere = worker.send(Signature::new("where.am_i").option("queue", "mail")).await?;
    assert_eq!(worker.broker.stats("mail").await?.ready, 1);
    println!("one task waits in mail, which nobody consumes");
    worker.state.add_consumer("mail");
    assert_eq!(worker.result(&elsewhere).await?.result, json!("mail"));

    let chain = Signature::chain([Signature::new("where.am_i"), Signature::new("mail.send")]);
    let sent = worker.run(chain).await?;
    println!("the second of the chain ran in {}", sent.result);
    assert_eq!(sent.result, json!("mail"));
    worker.stop().await?;
    Ok(())
}
