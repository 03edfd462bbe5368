//! Runs from trigger to end, with a worker that is test code.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{World, dag, until};
use serde_json::json;
use tradewind_broker::{Broker as _, ResultBackend as _};
use tradewind_proto::names::metric;
use tradewind_proto::state::{OutcomeState, RunState, TaskState};
use tradewind_scheduler::{Route, SchedulerOptions};
use tradewind_store::{AdminStore as _, RunStore as _};

#[tokio::test(start_paused = true)]
async fn a_run_moves_to_success_in_order() {
    let world = World::new().await;
    let tasks: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])];
    world.add(dag("diamond", tasks)).await;
    let scheduler = world.scheduler();
    let mut worker = world.worker();
    let run = world.trigger("diamond", "r1").await;
    assert_eq!(world.ended("diamond", "r1").await, RunState::Success);
    let log = worker.log();
    assert_eq!((log[0].as_str(), log[3].as_str(), log.len()), ("a#1", "d#1", 4));
    for task in world.store.task_instances(run).await.unwrap() {
        assert_eq!(task.state, TaskState::Success, "{}", task.task_id);
    }
    assert_eq!(world.store.attempts(run).await.unwrap().len(), 4);
    scheduler.stop().await;
    let jobs = world.store.jobs(Some("SchedulerJob"), 10).await.unwrap();
    assert!(jobs.iter().all(|job| job.ended), "{jobs:?}");
    assert_eq!(world.store.keys().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn empty_tasks_need_no_worker() {
    let world = World::new().await;
    let mut spec = dag("hollow", &[("a", &[]), ("b", &["a"])]);
    spec["tasks"][0]["runtime"] = json!("empty");
    spec["tasks"][1]["runtime"] = json!("empty");
    world.add(spec).await;
    let scheduler = world.scheduler();
    let run = world.trigger("hollow", "r1").await;
    assert_eq!(world.ended("hollow", "r1").await, RunState::Success);
    assert!(world.store.attempts(run).await.unwrap().is_empty());
    scheduler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_retried_after_its_delay() {
    let world = World::new().await;
    let mut spec = dag("retry", &[("a", &[]), ("b", &["a"])]);
    spec["tasks"][0]["retries"] = json!(2);
    spec["tasks"][0]["retry_delay"] = json!(30.0);
    world.add(spec).await;
    let scheduler = world.scheduler();
    let mut worker = world.worker_with(
        &["default"],
        Arc::new(|w| {
            let failed = w.task_id == "a" && w.try_number < 3;
            Some(if failed { OutcomeState::Failed } else { OutcomeState::Success })
        }),
    );
    let begun = tokio::time::Instant::now();
    world.trigger("retry", "r1").await;
    assert_eq!(world.ended("retry", "r1").await, RunState::Success);
    let took = begun.elapsed();
    assert!((60.0..63.0).contains(&took.as_secs_f64()), "two delays of 30 s, took {took:?}");
    assert_eq!(worker.log(), ["a#1", "a#2", "a#3", "b#1"]);
    scheduler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn exhausted_retries_fail_the_run_and_its_downstream() {
    let world = World::new().await;
    world.add(dag("bad", &[("a", &[]), ("b", &["a"])])).await;
    let scheduler = world.scheduler();
    let _worker = world.worker_with(&["default"], Arc::new(|_| Some(OutcomeState::Failed)));
    let run = world.trigger("bad", "r1").await;
    assert_eq!(world.ended("bad", "r1").await, RunState::Failed);
    assert_eq!(world.task(run, "b").await.state, TaskState::UpstreamFailed);
    scheduler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn routes_choose_queues_and_headers_tell_what_it_is() {
    let world = World::new().await;
    world.add(dag("etl", &[("load", &[]), ("other", &["load"])])).await;
    let route = Route { task: Some("etl.load".into()), operator: None, queue: "heavy".to_owned() };
    let scheduler =
        world.scheduler_with(SchedulerOptions { routes: vec![route], ..World::options() });
    let mut worker =
        world.worker_with(&["default", "heavy"], Arc::new(|_| Some(OutcomeState::Success)));
    world.trigger("etl", "r1").await;
    world.ended("etl", "r1").await;
    let load = worker.ran.recv().await.unwrap();
    let other = worker.ran.recv().await.unwrap();
    assert_eq!((load.queue.as_str(), other.queue.as_str()), ("heavy", "default"));
    assert_eq!(load.workload.queue, "heavy");
    let headers = &load.message.headers;
    assert_eq!(headers["task"], "tradewind.workload");
    assert_eq!(headers["id"], load.workload.attempt_id().to_string());
    assert_eq!((&headers["dag_id"], &headers["task_id"]), (&json!("etl"), &json!("load")));
    assert_eq!(headers["retries"], 0);
    assert_eq!(headers["argsrepr"], "('etl.load', 'r1')");
    // `load` weighs two (itself and its downstream), `other` one.
    assert_eq!((load.message.priority, other.message.priority), (1, 0));
    scheduler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn duplicates_and_garbage_change_nothing_and_are_acked() {
    let world = World::new().await;
    world.add(dag("dup", &[("a", &[]), ("b", &["a"])])).await;
    let scheduler = world.scheduler();
    let mut worker = world.worker_with(
        &["default"],
        Arc::new(|w| (w.task_id == "a").then_some(OutcomeState::Success)),
    );
    let run = world.trigger("dup", "r1").await;
    let a = worker.ran.recv().await.unwrap();
    let b = worker.ran.recv().await.unwrap();
    let mut twice = a.outcome.unwrap();
    world.send(&twice).await;
    twice.set_state(OutcomeState::Failed);
    world.send(&twice).await;
    world.results.send("tradewind.results", vec![b"garbage".to_vec()]).await.unwrap();
    // An outcome of `b` with a token of the past: refused and counted.
    let claimed = tradewind_store::model::ClaimedAttempt {
        run: world.run("dup", "r1").await,
        task_id: "b".into(),
        map_index: -1,
        try_number: 1,
        max_tries: 0,
        queued_at: world.now(),
        upstream_ended_at: None,
        prev_success_interval: None,
    };
    let mut stale = world.outcome(&b.workload, &claimed, OutcomeState::Failed);
    stale.token -= 1;
    stale.attempt += 1;
    world.send(&stale).await;
    until("the garbage to be counted", || async {
        (scheduler.counter("tradewind_intake_garbage_total") > 0.0).then_some(())
    })
    .await;
    until("the stale outcome to be counted", || async {
        (scheduler.counter(metric::STALE_WRITES) > 0.0).then_some(())
    })
    .await;
    assert_eq!(world.task(run, "a").await.state, TaskState::Success);
    assert_eq!(world.task(run, "b").await.state, TaskState::Running);
    world.send(&world.outcome(&b.workload, &claimed, OutcomeState::Success)).await;
    assert_eq!(world.ended("dup", "r1").await, RunState::Success);
    scheduler.stop().await;
    // All were acked: nobody else gets them.
    let mut inbox = world.results.open_inbox("tradewind.results").await.unwrap();
    let rest = tokio::time::timeout(Duration::from_secs(30), inbox.next_batch(10)).await;
    assert!(rest.is_err(), "left in the inbox: {rest:?}");
}

#[tokio::test(start_paused = true)]
async fn wide_runs_go_through_narrow_pools() {
    let world = World::new().await;
    let names: Vec<String> = (0..200).map(|i| format!("t{i:03}")).collect();
    let mut tasks: Vec<(&str, &[&str])> = names.iter().map(|n| (n.as_str(), &[][..])).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    tasks.push(("end", &all));
    let mut spec = dag("wide", &tasks);
    spec["max_active_tasks"] = json!(1000);
    world.add(spec).await;
    let options = SchedulerOptions { default_pool_slots: 7, ..World::options() };
    let scheduler = world.scheduler_with(options);
    let mut worker = world.worker();
    world.trigger("wide", "r1").await;
    assert_eq!(world.ended("wide", "r1").await, RunState::Success);
    assert_eq!(worker.log().len(), 201);
    assert_eq!(world.broker.stats("default").await.unwrap().ready, 0);
    scheduler.stop().await;
}
