//! Schema, jobs, keys, numbers, wake-ups.

use std::time::Duration;

use tokio::time::timeout;
use tradewind_proto::dag::ImportError;
use tradewind_proto::state::{RunState, TaskState};
use uuid::Uuid;

use super::kit::{Bench, Must, dag, file, new_run, t};
use crate::model::{Counts, FileSync, JobRow};

/// Longest wait for something that is on its way.
const SOON: Duration = Duration::from_secs(10);

/// Again and by several at once: nothing happens.
pub async fn migrating(bench: &Bench) {
    let store = bench.store();
    assert_eq!(store.migrate().await.must(), [""; 0], "the bench is migrated");
    let migrated = bench.at_once(4, |_, s| async move { s.migrate().await.must() }).await;
    assert!(migrated.iter().all(Vec::is_empty));
    store.check_schema().await.must();
    store.health().await.must();
    assert!(["sqlite", "postgres"].contains(&store.kind()));
    assert_eq!(store.shared(), store.kind() == "postgres");
}

/// Newest heartbeat first; keys once each.
pub async fn jobs_and_keys(bench: &Bench) {
    let store = bench.store();
    let job = |id, job_type: &str, beat| JobRow {
        id: Uuid::from_u128(id),
        job_type: job_type.into(),
        hostname: "one".into(),
        ended: false,
        started_at: t(0),
        heartbeat_at: t(beat),
    };
    for row in [job(1, "SchedulerJob", 1), job(2, "WebJob", 2), job(1, "SchedulerJob", 3)] {
        store.job_heartbeat(&row).await.must();
    }
    let done = JobRow { ended: true, ..job(2, "WebJob", 4) };
    store.job_heartbeat(&done).await.must();
    assert_eq!(store.jobs(None, 10).await.must(), [done, job(1, "SchedulerJob", 3)]);
    assert_eq!(store.jobs(Some("SchedulerJob"), 10).await.must(), [job(1, "SchedulerJob", 3)]);
    assert_eq!(store.jobs(None, 1).await.must().len(), 1);
    for (key, at) in [("b", 1), ("a", 2), ("b", 3)] {
        store.add_key(key, t(at)).await.must();
    }
    assert_eq!(store.keys().await.must(), ["b", "a"]);
}

/// Only what is unfinished counts.
pub async fn counting(bench: &Bench) {
    let store = bench.store();
    assert_eq!(store.counts().await.must(), Counts::default());
    let run = bench.started(&dag("d", &[("a", &[]), ("b", &[]), ("c", &[])]), "r", 0).await;
    store.trigger(new_run("d", "r2", 60), t(0)).await.must();
    bench.queue(run, &["b", "c"], 10).await;
    let error = ImportError { message: "E".into(), line: None, detail: String::new() };
    store.sync_file(FileSync { error: Some(error), ..file(&dag("x", &[])) }, t(1)).await.must();
    let counts = Counts {
        tasks: vec![(TaskState::None, 1), (TaskState::Queued, 2)],
        runs: vec![(RunState::Queued, 1), (RunState::Running, 1)],
        unsent: 2,
        oldest_unsent: Some(t(10)),
        import_errors: 1,
    };
    assert_eq!(store.counts().await.must(), counts);
}

/// A trigger, an unpause and a new version wake every process.
pub async fn wakeups_come(bench: &Bench) {
    let store = bench.store();
    let mut wakeups = bench.process(1).wakeups();
    // Listening may begin late: a first word until it is heard.
    let first = dag("d", &[]);
    let mut n = 0;
    timeout(SOON, async {
        loop {
            n += 1;
            bench
                .sync(&tradewind_proto::dag::DagSpec {
                    description: Some(n.to_string()),
                    ..first.clone()
                })
                .await;
            if timeout(Duration::from_millis(500), wakeups.recv()).await.is_ok() {
                break;
            }
        }
    })
    .await
    .expect("woken by a new version");
    for step in ["trigger", "unpause"] {
        // What is still on its way from before is let pass.
        while timeout(Duration::from_millis(200), wakeups.recv()).await.is_ok() {}
        match step {
            "trigger" => drop(store.trigger(new_run("d", "r", 0), t(0)).await.must()),
            _ => store.set_paused("d", false).await.must(),
        }
        let woken = timeout(SOON, wakeups.recv()).await;
        assert!(matches!(woken, Ok(Ok(()))), "{step}: {woken:?}");
    }
}
