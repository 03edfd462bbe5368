//! Canvas: chains, groups, chords, callbacks, and tasks that send tasks.

use serde_json::json;
use tradewind_proto::celery::Signature;
use tradewind_worker::fleet::testing::LocalWorker;
use tradewind_worker::fleet::{Context, TaskError, Tasks};

fn tasks() -> Tasks {
    let mut tasks = Tasks::default();
    tasks.add("math.add", async |_context, (a, b): (i64, i64)| Ok(a + b));
    tasks.add("math.sum", async |_context, (all,): (Vec<i64>,)| Ok(all.iter().sum::<i64>()));
    tasks.add("math.spread", async |context: Context, (): ()| {
        let header = (0..3).map(|n| Signature::new("math.add").arg(n).arg(n));
        let total = context.send(Signature::chord(header, Signature::new("math.sum"))).await?;
        Ok(total.id)
    });
    tasks
}

fn add(a: i64, b: i64) -> Signature {
    Signature::new("math.add").arg(a).arg(b)
}

#[tokio::main]
pub async fn main() -> Result<(), TaskError> {
    let worker = LocalWorker::start(tasks()).await?;
    let next = |n: i64| Signature::new("math.add").arg(n);

    let chain = worker.run(Signature::chain([add(1, 2), next(10), next(100)])).await?;
    println!("chain: {}", chain.result);
    assert_eq!(chain.result, json!(113));

    let chord = Signature::chord((1..=4).map(|n| add(n, n)), Signature::new("math.sum"));
    let chord = worker.run(chord).await?;
    println!("chord: {}", chord.result);
    assert_eq!(chord.result, json!(20));

    // A group that is followed by something is a chord too.
    let group = Signature::group([add(1, 1), add(2, 2)]);
    let mixed = Signature::chain([group, Signature::new("math.sum"), next(1)]);
    assert_eq!(worker.run(mixed).await?.result, json!(7));

    let spread = worker.run(Signature::new("math.spread")).await?;
    let total = worker.result(spread.result.as_str().unwrap_or_default()).await?;
    println!("sent by a task: {}", total.result);
    assert_eq!(total.result, json!(6));
    worker.stop().await?;
    Ok(())
}
