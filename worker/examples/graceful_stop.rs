//! Graceful stop: running tasks may end; what will not is given back to its queue; nothing is lost.

use std::time::Duration;

use tradewind_broker::Broker as _;
use tradewind_proto::celery::Signature;
use tradewind_worker::fleet::testing::{LocalWorker, QUEUE};
use tradewind_worker::fleet::{Context, TaskError, Tasks};

fn tasks() -> Tasks {
    let mut tasks = Tasks::default();
    tasks.add("slow.polite", async |context: Context, (): ()| {
        // Looks at its cancellation, and has nothing to clean up.
        let why = context.cancelled().await;
        Err::<(), _>(why.into())
    });
    tasks.add("slow.short", async |_context, (): ()| {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok("done")
    });
    tasks
}

#[tokio::main]
pub async fn main() -> Result<(), TaskError> {
    let worker = LocalWorker::start(tasks()).await?;
    let short = worker.send(Signature::new("slow.short")).await?;
    worker.send(Signature::new("slow.polite")).await?;
    while worker.state.active().len() < 2 && worker.state.recent().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let broker = worker.broker.clone();
    // A service does this on SIGTERM …
    worker.shut_down();
    worker.result(&short).await?;
    // … and this on a second one, or when the grace has passed.
    worker.hurry();
    let report = worker.stop().await?;
    println!("{report:?}");
    assert_eq!((report.finished, report.handed_back), (1, 1));
    assert_eq!(broker.stats(QUEUE).await?.ready, 1, "for another worker");
    Ok(())
}
