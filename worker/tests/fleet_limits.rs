//! How many tasks run at once: growing pools, blocking handlers beside async ones, limits per key and per
//! fleet, uniqueness that waits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Barrier;
use tradewind_proto::celery::Signature;
use tradewind_worker::fleet::testing::LocalWorker;
use tradewind_worker::fleet::{Conflict, KeyOf, Limit, Tasks, Unique};

/// Generous: machines of CI may be slow.
const WAIT: Duration = Duration::from_secs(60);

/// The places for outcomes that are not safe yet once stayed those of the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_has_grown_far_runs_as_many() {
    const MANY: usize = 20;
    let barrier = Arc::new(Barrier::new(MANY));
    let mut tasks = Tasks::default();
    tasks.add("meet", move |_context, (): ()| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            Ok(())
        }
    });
    let worker = LocalWorker::start_with(tasks, |builder| builder.concurrency(1)).await;
    let worker = worker.expect("it starts");
    let mut ids = Vec::new();
    for _ in 0..MANY {
        ids.push(worker.send(Signature::new("meet")).await.expect("sent"));
    }
    worker.state.resize_pool(u16::try_from(MANY).expect("small"));
    for id in &ids {
        let met = tokio::time::timeout(WAIT, worker.result(id)).await;
        assert_eq!(met.expect("all run at once").expect("a result").status, "SUCCESS");
    }
    worker.stop().await.expect("it stops");
}

/// More blocking handlers than there are threads of the runtime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_handlers_do_not_starve_async_ones() {
    const BLOCKED: usize = 24;
    let gate = Arc::new((Mutex::new(false), std::sync::Condvar::new()));
    let (begun, mut tasks) = (Arc::new(AtomicU32::new(0)), Tasks::default());
    let (gate_, begun_) = (Arc::clone(&gate), Arc::clone(&begun));
    tasks.add_blocking("block", move |_context, (): ()| {
        begun_.fetch_add(1, Ordering::SeqCst);
        let open = gate_.0.lock().expect("no panic");
        let open = gate_.1.wait_while(open, |open| !*open).expect("no panic");
        Ok(*open)
    });
    tasks.add("add", async |_context, (a, b): (i64, i64)| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(a + b)
    });
    let worker = LocalWorker::start_with(tasks, |builder| builder.concurrency(32)).await;
    let worker = worker.expect("it starts");
    let mut blocked = Vec::new();
    for _ in 0..BLOCKED {
        blocked.push(worker.send(Signature::new("block")).await.expect("sent"));
    }
    let all_block = async {
        while begun.load(Ordering::SeqCst) < BLOCKED as u32 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(WAIT, all_block).await.expect("all of them block");
    for n in 0..50 {
        let sum = worker.run(Signature::new("add").arg(n).arg(1)).await.expect("it runs");
        assert_eq!(sum.result, json!(n + 1));
    }
    *gate.0.lock().expect("no panic") = true;
    gate.1.notify_all();
    for id in &blocked {
        assert_eq!(worker.result(id).await.expect("a result").result, json!(true));
    }
    worker.stop().await.expect("it stops");
}

/// One at once per customer; two customers at once. And of a unique task the second waits for the first.
#[tokio::test(flavor = "multi_thread")]
async fn limits_per_key_and_deferred_duplicates() {
    type Running = Arc<Mutex<BTreeMap<String, (u32, u32)>>>;
    let running = Running::default();
    let both = Arc::new(Barrier::new(2));
    let mut tasks = Tasks::default();
    for name in ["bill", "sync"] {
        let (running, both) = (Arc::clone(&running), Arc::clone(&both));
        tasks.add(name, move |_context, (customer, meet): (String, bool)| {
            let (running, both) = (Arc::clone(&running), Arc::clone(&both));
            async move {
                let count = |by: i64| {
                    let mut running = running.lock().expect("no panic");
                    let (now, most) = running.entry(customer.clone()).or_default();
                    *now = now.saturating_add_signed(i32::try_from(by).expect("small"));
                    *most = (*most).max(*now);
                };
                count(1);
                if meet {
                    both.wait().await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                count(-1);
                Ok(())
            }
        });
    }
    let customer = || KeyOf::new(|request| request.args[0].to_string());
    tasks.options("bill", |o| o.concurrency = vec![Limit { most: 1, per: Some(customer()) }]);
    tasks.options("sync", |o| {
        let conflict = Conflict::Defer;
        o.unique = Some(Unique { key: customer(), conflict, window: None });
    });
    let worker = LocalWorker::start(tasks).await.expect("it starts");
    let mut ids = Vec::new();
    // The first of each meet: different keys do not wait for one another.
    for (task, customer, meet) in [
        ("bill", "ann", true),
        ("bill", "bob", true),
        ("bill", "ann", false),
        ("bill", "ann", false),
        ("sync", "eve", false),
        ("sync", "eve", false),
        ("sync", "eve", false),
    ] {
        let call = Signature::new(task).arg(customer).arg(meet);
        ids.push(worker.send(call).await.expect("sent"));
    }
    for id in &ids {
        assert_eq!(worker.result(id).await.expect("a result").status, "SUCCESS");
    }
    let most: Vec<u32> =
        running.lock().expect("no panic").values().map(|(_, most)| *most).collect();
    assert_eq!(most, [1, 1, 1], "at most one per key at once, and all of them ran");
    worker.stop().await.expect("it stops");
}
