//! Which runs schedules create.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::time::Duration;

use common::{World, dag, until};
use serde_json::{Value, json};
use tradewind_proto::state::RunState;
use tradewind_store::{DagStore as _, RunStore as _};

fn daily(dag_id: &str, start: &str, catchup: bool) -> Value {
    let mut spec = dag(dag_id, &[("a", &[])]);
    spec["schedule"] =
        json!({"kind": "cron", "expr": "0 0 * * *", "timezone": "UTC", "interval": true});
    spec["start_date"] = json!(start);
    spec["catchup"] = json!(catchup);
    spec
}

async fn logical_dates(world: &World, dag_id: &str) -> Vec<String> {
    logical_times(world, dag_id, "%d").await
}

async fn logical_times(world: &World, dag_id: &str, format: &str) -> Vec<String> {
    let runs = world.runs(dag_id).await;
    let mut dates: Vec<_> = runs.iter().map(|run| run.logical_date.unwrap()).collect();
    dates.sort();
    dates.iter().map(|date| date.strftime(format).to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn catchup_creates_every_missed_run_a_few_at_a_time() {
    let world = World::at("2026-11-21T12:00:00Z").await;
    let mut spec = daily("daily", "2026-11-01T00:00:00Z", true);
    spec["max_active_runs"] = json!(3);
    world.add(spec).await;
    let (one, two) = (world.scheduler(), world.scheduler());
    until("runs to be created", || async { (world.runs("daily").await.len() >= 3).then_some(()) })
        .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.runs("daily").await.len(), 3, "no more than max_active_runs ahead");
    let _worker = world.worker();
    until("all runs to succeed", || async {
        let runs = world.runs("daily").await;
        let done = runs.iter().filter(|run| run.state == RunState::Success).count();
        (done == 20).then_some(())
    })
    .await;
    let expected: Vec<String> = (1..=20).map(|day| format!("{day:02}")).collect();
    assert_eq!(logical_dates(&world, "daily").await, expected);
    let run = world.store.run("daily", "scheduled__2026-11-05T00:00:00+00:00").await.unwrap();
    let (start, end) = run.unwrap().interval.unwrap();
    assert_eq!(end.duration_since(start).as_hours(), 24);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_catchup_only_the_newest_run_is_created_and_the_next_on_time() {
    let world = World::at("2026-11-21T23:59:00Z").await;
    world.add(daily("fresh", "2026-11-01T00:00:00Z", false)).await;
    let scheduler = world.scheduler();
    let _worker = world.worker();
    until("the first run", || async { (!world.runs("fresh").await.is_empty()).then_some(()) })
        .await;
    assert_eq!(logical_dates(&world, "fresh").await, ["20"]);
    until("the next run", || async { (world.runs("fresh").await.len() == 2).then_some(()) }).await;
    let late = world.now().duration_since("2026-11-22T00:00:00Z".parse().unwrap());
    assert!((0..50).contains(&late.as_millis()), "created {late:?} after it was due");
    assert_eq!(logical_dates(&world, "fresh").await, ["20", "21"]);
    scheduler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_dag_skips_what_it_missed_unless_it_catches_up() {
    let world = World::at("2026-11-21T12:00:30Z").await;
    for (dag_id, catchup) in [("fresh", false), ("all", true)] {
        let mut spec = daily(dag_id, "2026-11-21T11:59:00Z", catchup);
        spec["schedule"]["expr"] = json!("* * * * *");
        world.add(spec).await;
    }
    let scheduler = world.scheduler();
    let _worker = world.worker();
    for dag_id in ["fresh", "all"] {
        until("the first run", || async { (world.runs(dag_id).await.len() == 1).then_some(()) })
            .await;
        world.store.set_paused(dag_id, true).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3 * 60)).await;
    for dag_id in ["fresh", "all"] {
        assert_eq!(world.runs(dag_id).await.len(), 1);
        world.store.set_paused(dag_id, false).await.unwrap();
    }
    until("catchup", || async { (world.runs("all").await.len() == 4).then_some(()) }).await;
    assert_eq!(logical_times(&world, "all", "%M").await, ["59", "00", "01", "02"]);
    assert_eq!(logical_times(&world, "fresh", "%M").await, ["59", "02"]);
    scheduler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn once_is_once_and_continuous_never_overlaps() {
    let world = World::at("2026-11-21T12:00:00Z").await;
    for (dag_id, kind) in [("once", "once"), ("loop", "continuous")] {
        let mut spec = dag(dag_id, &[("a", &[])]);
        spec["schedule"] = json!({"kind": kind});
        spec["start_date"] = json!("2026-11-20T00:00:00Z");
        world.add(spec).await;
    }
    let scheduler = world.scheduler();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.runs("loop").await.len(), 1, "nobody works: the first run is still open");
    let worker = world.worker();
    until("three loops", || async { (world.runs("loop").await.len() >= 3).then_some(()) }).await;
    drop(worker);
    let open = world.runs("loop").await.iter().filter(|run| !run.state.is_terminal()).count();
    assert!(open <= 1);
    assert_eq!(world.runs("once").await.len(), 1);
    scheduler.stop().await;
}
