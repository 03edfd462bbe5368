//! Creating, starting and listing runs.

use tradewind_proto::state::{RunState, TaskState};

use super::kit::{Bench, Must, dag, new_run, start_of, t};
use crate::Error;
use crate::model::{NewRun, RunFilter, StartRun};

/// By hand: the DAG must exist, run id and logical date be free.
pub async fn triggering(bench: &Bench) {
    let store = bench.store();
    let spec = dag("d", &[("a", &[])]);
    let unknown = store.trigger(new_run("d", "r", 0), t(0)).await.expect_err("no DAG");
    assert!(matches!(unknown, Error::NotFound { kind: "DAG", .. }), "{unknown}");
    bench.sync(&spec).await;
    let mut new = new_run("d", "r", 0);
    new.conf.insert("z\0".into(), 1.into());
    new.conf.insert("a".into(), "ü".into());
    new.trace_parent = "00-1-2-01".into();
    let row = store.trigger(new.clone(), t(9)).await.must();
    assert_eq!((row.id, row.conf.clone(), row.queued_at), (new.id, new.conf.clone(), t(9)));
    assert_eq!(row.conf.keys().collect::<Vec<_>>(), ["z\0", "a"], "order is kept");
    assert_eq!(store.run("d", "r").await.must(), Some(row));
    assert_eq!(store.run("d", "nobody").await.must(), None);
    for taken in [new_run("d", "r", 5), new_run("d", "other", 0)] {
        let error = store.trigger(taken, t(9)).await.expect_err("taken");
        assert!(matches!(error, Error::Exists { kind: "run", .. }), "{error}");
    }
    let undated = |id: &str| NewRun { logical_date: None, interval: None, ..new_run("d", id, 0) };
    store.trigger(undated("u1"), t(9)).await.must();
    store.trigger(undated("u2"), t(9)).await.must();
    store.retain_files(&[], t(9)).await.must();
    let gone = store.trigger(new_run("d", "late", 7), t(9)).await.expect_err("inactive");
    assert!(matches!(gone, Error::NotFound { .. }), "{gone}");
}

/// Many queued runs of one DAG neither exceed its room nor hide another DAG's.
pub async fn startable_hides_nothing(bench: &Bench) {
    let store = bench.store();
    let mut many = dag("many", &[]);
    many.max_active_runs = 2;
    for spec in [&many, &dag("few", &[]), &dag("paused", &[])] {
        bench.sync(spec).await;
    }
    store.set_paused("paused", true).await.must();
    for at in 0..20 {
        store.trigger(new_run("many", &format!("m{at}"), at), t(at)).await.must();
    }
    store.trigger(new_run("few", "f", 50), t(50)).await.must();
    store.trigger(new_run("few", "future", 500), t(50)).await.must();
    store.trigger(new_run("paused", "p", 0), t(0)).await.must();
    let names = |runs: Vec<crate::model::RunRow>| -> Vec<String> {
        runs.into_iter().map(|r| r.run_id).collect()
    };
    assert_eq!(names(store.startable_runs(t(100), 10).await.must()), ["m0", "m1", "f"]);
    assert_eq!(names(store.startable_runs(t(100), 1).await.must()), ["m0"]);
    let first = store.run("many", "m0").await.must().expect("exists");
    store.start_runs(vec![start_of(&many, first.id)], t(100)).await.must();
    assert_eq!(names(store.startable_runs(t(100), 10).await.must()), ["m1", "f"]);
}

/// A start fixes the version, makes the task instances, and happens once.
pub async fn starting(bench: &Bench) {
    let store = bench.store();
    let spec = dag("d", &[("z", &[]), ("a", &["z"])]);
    bench.sync(&dag("d", &[])).await;
    let run = store.trigger(new_run("d", "r", 0), t(0)).await.must();
    bench.sync(&spec).await;
    assert!(store.load_run(run.id).await.must().expect("known").tasks.is_empty());
    let again = start_of(&spec, run.id);
    let started = store.start_runs(vec![again.clone(), again.clone()], t(3)).await.must();
    assert_eq!(started, [true, false]);
    assert_eq!(store.start_runs(vec![again], t(4)).await.must(), [false]);
    let row = store.run("d", "r").await.must().expect("exists");
    assert_eq!((row.state, row.start_date), (RunState::Running, Some(t(3))));
    assert_eq!(row.version_hash, spec.version_hash());
    assert_eq!(store.running_runs().await.must(), [run.id]);
    let snapshot = bench.load(run.id).await;
    assert_eq!((snapshot.run.version, snapshot.run.start_date), (1, Some(t(3))));
    let tasks: Vec<_> = snapshot.tasks.iter().map(|t| (t.task_id.as_str(), t.state)).collect();
    assert_eq!(tasks, [("z", TaskState::None), ("a", TaskState::None)]);
    let listed = store.task_instances(run.id).await.must();
    assert_eq!(listed.iter().map(|t| t.task_id.as_str()).collect::<Vec<_>>(), ["z", "a"]);
    assert_eq!((listed[0].dag_id.as_str(), listed[0].run_id.as_str()), ("d", "r"));
    assert_eq!((listed[0].operator.as_str(), listed[0].token), ("PythonOperator", 0));
    assert!(store.load_run(uuid::Uuid::now_v7()).await.must().is_none());
}

/// A start gives a trace to a run that has none, and to no other.
pub async fn starting_keeps_the_trace(bench: &Bench) {
    let store = bench.store();
    let spec = dag("d", &[]);
    bench.sync(&spec).await;
    let mut starts = Vec::new();
    for (at, own) in ["", "00-1-2-01"].into_iter().enumerate() {
        let new = NewRun { trace_parent: own.into(), ..new_run("d", &format!("r{at}"), at as i64) };
        let run = store.trigger(new, t(5)).await.must();
        starts.push(StartRun { trace_parent: "00-3-4-01".into(), ..start_of(&spec, run.id) });
    }
    assert_eq!(store.start_runs(starts, t(6)).await.must(), [true, true]);
    for (run_id, trace) in [("r0", "00-3-4-01"), ("r1", "00-1-2-01")] {
        let row = store.run("d", run_id).await.must().expect("exists");
        assert_eq!(row.trace_parent, trace, "{run_id}");
    }
}

/// Four schedulers start eight runs of a DAG that allows three.
pub async fn starts_never_exceed_the_maximum(bench: &Bench) {
    let store = bench.store();
    let mut spec = dag("d", &[("a", &[])]);
    spec.max_active_runs = 3;
    bench.sync(&spec).await;
    let mut starts: Vec<StartRun> = Vec::new();
    for at in 0..8 {
        let run = store.trigger(new_run("d", &format!("r{at}"), at), t(at)).await.must();
        starts.push(start_of(&spec, run.id));
    }
    let started = bench
        .at_once(4, |i, store| {
            let mut mine = starts.clone();
            mine.rotate_left(i * 2);
            async move { store.start_runs(mine, t(10)).await.must() }
        })
        .await;
    let total = started.iter().flatten().filter(|s| **s).count();
    assert_eq!(total, 3, "{started:?}");
    assert_eq!(store.running_runs().await.must().len(), 3);
}

/// Newest first, by DAG and state.
pub async fn listing(bench: &Bench) {
    let store = bench.store();
    let spec = dag("d", &[]);
    for name in ["d", "e"] {
        bench.sync(&dag(name, &[])).await;
    }
    for at in 0..4 {
        store.trigger(new_run("d", &format!("d{at}"), at), t(at)).await.must();
        store.trigger(new_run("e", &format!("e{at}"), at + 10), t(at)).await.must();
    }
    let running = store.run("d", "d1").await.must().expect("exists");
    store.start_runs(vec![start_of(&spec, running.id)], t(9)).await.must();
    let list = async |dag_id: Option<&str>, state, limit| -> Vec<String> {
        let filter = RunFilter { dag_id: dag_id.map(str::to_owned), state, limit };
        let runs = store.runs(filter).await.must();
        runs.into_iter().map(|r| r.run_id).collect()
    };
    assert_eq!(list(None, None, 3).await, ["e3", "e2", "e1"]);
    assert_eq!(list(None, None, 0).await.len(), 8);
    assert_eq!(list(Some("d"), None, 0).await, ["d3", "d2", "d1", "d0"]);
    assert_eq!(list(Some("d"), Some(RunState::Queued), 2).await, ["d3", "d2"]);
    assert_eq!(list(None, Some(RunState::Running), 0).await, ["d1"]);
    assert_eq!(list(Some("nobody"), None, 0).await, [""; 0]);
}
