//! scheduled → queued under the limits.

use serde_json::json;
use tradewind_engine::model::TaskChange;
use tradewind_proto::dag::DagSpec;
use tradewind_proto::state::TaskState;
use uuid::Uuid;

use super::kit::{Bench, Must, dag, open_limits, t};
use crate::model::{Dispatch, Queueing};

/// A DAG of `n` independent tasks `t0`, `t1`, …
fn wide(dag_id: &str, n: usize) -> DagSpec {
    let names: Vec<String> = (0..n).map(|i| format!("t{i}")).collect();
    let tasks: Vec<(&str, &[&str])> = names.iter().map(|n| (n.as_str(), &[] as &[&str])).collect();
    DagSpec { max_active_tasks: 10_000, ..dag(dag_id, &tasks) }
}

/// Starts a run with everything scheduled, nothing queued.
async fn waiting(bench: &Bench, spec: &DagSpec, run_id: &str, at: i64, priority: i32) -> Uuid {
    let run = bench.started(spec, run_id, at).await;
    let names: Vec<&str> = spec.tasks.iter().map(|t| t.task_id.as_str()).collect();
    let changes = bench.waiting_changes(run, &names).await;
    bench.wait(run, changes.into_iter().map(|c| TaskChange { priority, ..c }).collect()).await;
    run
}

fn names(dispatch: &[Dispatch]) -> Vec<String> {
    dispatch.iter().map(|d| format!("{}.{}", d.run_id, d.task_id)).collect()
}

/// Priority, then logical date, then definition order; `max` ends a call and says that there is more.
pub async fn most_urgent_first(bench: &Bench) {
    let spec = wide("d", 2);
    waiting(bench, &spec, "late", 60, 5).await;
    waiting(bench, &spec, "early", 0, 5).await;
    waiting(bench, &spec, "urgent", 120, 9).await;
    let three = Queueing { max: 3, ..open_limits() };
    let report = bench.drain(&three).await;
    assert_eq!(names(&report.dispatch), ["urgent.t0", "urgent.t1", "early.t0"]);
    assert_eq!(report.dispatch[0].priority, 9);
    assert!(report.more);
    let report = bench.drain(&three).await;
    assert_eq!(names(&report.dispatch), ["early.t1", "late.t0", "late.t1"]);
    assert!(!report.more, "nothing is left");
    let report = bench.drain(&three).await;
    assert_eq!((names(&report.dispatch), report.more), (Vec::new(), false));
    let many = waiting(bench, &wide("many", 300), "m", 0, 1).await;
    let report = bench.drain(&Queueing { max: 200, ..open_limits() }).await;
    assert_eq!((report.dispatch.len(), report.more), (128 - 6, false), "the pool's slots");
    assert_eq!(report.dispatch[0].run, many);
    assert_eq!(report.dispatch[121].task_id, "t121");
}

/// Slots, also several at once; a pool that is full hides no other.
pub async fn pools(bench: &Bench) {
    let mut spec = wide("d", 6);
    for (i, (pool, slots)) in
        [("p", 3), ("p", 3), ("p", 1), ("q", 9), ("q", 1), ("p", 1)].into_iter().enumerate()
    {
        (spec.tasks[i].pool, spec.tasks[i].pool_slots) = (pool.to_owned(), slots);
    }
    waiting(bench, &spec, "r", 0, 1).await;
    let small = Queueing { default_pool_slots: 4, ..open_limits() };
    let report = bench.drain(&small).await;
    // t1 does not fit beside t0, t2 does; t3 never fits.
    assert_eq!(names(&report.dispatch), ["r.t0", "r.t2", "r.t4"]);
    assert!(!report.more);
    let unlimited = Queueing { default_pool_slots: -1, ..open_limits() };
    assert_eq!(names(&bench.drain(&unlimited).await.dispatch), ["r.t1", "r.t3", "r.t5"]);
}

/// Over the DAG, or per run in newer files.
pub async fn max_active_tasks(bench: &Bench) {
    let old = DagSpec { max_active_tasks: 3, ..wide("old", 4) };
    let new = DagSpec { max_active_tasks_per_run: true, dag_id: "new".into(), ..old.clone() };
    let new = DagSpec { fileloc: "new.py".into(), ..new };
    for (at, run_id) in [(0, "r1"), (60, "r2")] {
        waiting(bench, &old, run_id, at, 1).await;
        waiting(bench, &new, run_id, at, 1).await;
    }
    let report = bench.drain(&open_limits()).await;
    let of = |dag_id: &str, run_id: &str| {
        report.dispatch.iter().filter(|d| d.dag_id == dag_id && d.run_id == run_id).count()
    };
    assert_eq!((of("old", "r1"), of("old", "r2")), (3, 0));
    assert_eq!((of("new", "r1"), of("new", "r2")), (3, 3));
    assert!(!report.more);
}

/// Of one task, over all runs and within a run; the tasks behind it are not held back.
pub async fn max_active_instances(bench: &Bench) {
    let mut spec = wide("d", 3);
    spec.tasks[0].max_active_tis_per_dag = Some(1);
    waiting(bench, &spec, "r1", 0, 1).await;
    waiting(bench, &spec, "r2", 60, 1).await;
    let report = bench.drain(&open_limits()).await;
    assert_eq!(names(&report.dispatch), ["r1.t0", "r1.t1", "r1.t2", "r2.t1", "r2.t2"]);
    let mapped = json!({"task_id": "m", "operator": "X", "runtime": "python",
                        "max_active_tis_per_dagrun": 2});
    let mut spec = wide("mapped", 1);
    spec.tasks.insert(0, serde_json::from_value(mapped).expect("a task"));
    bench.sync(&spec).await;
    let run = super::kit::new_run("mapped", "r", 0);
    let run = bench.store().trigger(run, t(0)).await.must().id;
    let mut start = super::kit::start_of(&spec, run);
    let one = start.tasks.remove(0);
    let instance = |i| crate::model::NewTask { map_index: i, ..one.clone() };
    start.tasks.splice(0..0, (0..20).map(instance));
    bench.store().start_runs(vec![start], t(0)).await.must();
    let changes = bench.waiting_changes(run, &["m", "t0"]).await;
    bench.wait(run, changes).await;
    let report = bench.drain(&open_limits()).await;
    let queued: Vec<_> =
        report.dispatch.iter().map(|d| (d.task_id.as_str(), d.map_index)).collect();
    assert_eq!(queued, [("m", 0), ("m", 1), ("t0", -1)]);
}

/// Four schedulers at once, over and over, while tasks end: never more than the limit.
pub async fn parallelism_holds_under_concurrency(bench: &Bench) {
    for (i, dag_id) in ["a", "b"].into_iter().enumerate() {
        waiting(bench, &wide(dag_id, 40), "r", 0, i as i32).await;
    }
    let limits = Queueing { parallelism: Some(7), ..open_limits() };
    let mut queued = 0;
    while queued < 80 {
        let reports = bench
            .at_once(4, |_, store| {
                let limits = limits.clone();
                async move { store.commit(Vec::new(), &limits, t(6)).await.must() }
            })
            .await;
        let now: Vec<Dispatch> = reports.into_iter().flat_map(|r| r.dispatch).collect();
        assert!(!now.is_empty() && now.len() <= 7, "{} at once", now.len());
        queued += now.len();
        let mut ended = std::collections::BTreeMap::<Uuid, Vec<TaskChange>>::new();
        for d in &now {
            let task = bench.task(d.run, &d.task_id).await;
            assert_eq!(task.state, TaskState::Queued);
            let change = super::kit::entered(&task, TaskState::Success, t(7));
            ended.entry(d.run).or_default().push(change);
        }
        for (run, changes) in ended {
            bench.wait(run, changes).await;
        }
    }
    assert_eq!(queued, 80);
}

/// A thousand urgent tasks that wait behind their DAG's limit hide neither another DAG nor, behind
/// a task's own limit, the rest of their DAG.
pub async fn blocked_groups_hide_nothing(bench: &Bench) {
    let full = DagSpec { max_active_tasks: 1, ..wide("full", 1000) };
    waiting(bench, &full, "r", 0, 100).await;
    waiting(bench, &wide("free", 3), "r", 0, 1).await;
    let report = bench.drain(&open_limits()).await;
    let dags: Vec<_> = report.dispatch.iter().map(|d| d.dag_id.as_str()).collect();
    assert_eq!(dags, ["full", "free", "free", "free"]);
    assert!(!report.more);
    let mut own = wide("own", 40);
    for task in &mut own.tasks[..30] {
        task.max_active_tis_per_dag = Some(0);
    }
    waiting(bench, &own, "r", 0, 50).await;
    let report = bench.drain(&open_limits()).await;
    assert_eq!(report.dispatch.len(), 10, "{:?}", names(&report.dispatch));
}

/// Task instances of a paused DAG wait until it goes on.
pub async fn paused_dags_wait(bench: &Bench) {
    waiting(bench, &wide("d", 2), "r", 0, 1).await;
    bench.store().set_paused("d", true).await.must();
    let report = bench.drain(&open_limits()).await;
    assert_eq!((names(&report.dispatch), report.more), (Vec::new(), false));
    bench.store().set_paused("d", false).await.must();
    assert_eq!(bench.drain(&open_limits()).await.dispatch.len(), 2);
}
