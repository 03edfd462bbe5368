//! What may break: workers, schedulers, the broker, the store.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{World, dag, until};
use tradewind_broker::Broker as _;
use tradewind_proto::execution::{HeartbeatRequest, LeaseItem};
use tradewind_proto::names::metric;
use tradewind_proto::state::{OutcomeState, RunState, TaskState};
use tradewind_proto::workload::Workload;
use tradewind_scheduler::SchedulerOptions;
use tradewind_store::model::JobRow;
use tradewind_store::{AdminStore as _, AttemptStore as _, RunStore as _};
use uuid::Uuid;

fn chain(length: usize) -> serde_json::Value {
    let names: Vec<String> = (0..length).map(|i| format!("t{i:02}")).collect();
    let ups: Vec<Vec<&str>> = (0..length)
        .map(|i| i.checked_sub(1).map(|up| names[up].as_str()).into_iter().collect())
        .collect();
    let tasks: Vec<(&str, &[&str])> =
        names.iter().zip(&ups).map(|(name, ups)| (name.as_str(), ups.as_slice())).collect();
    dag("chain", &tasks)
}

/// One ended attempt with success per task, and no other that counts.
async fn each_succeeded_once(world: &World, run: Uuid, tasks: usize) {
    let mut successes: BTreeMap<String, u32> = BTreeMap::new();
    for attempt in world.store.attempts(run).await.unwrap() {
        if attempt.outcome == Some(OutcomeState::Success) {
            *successes.entry(attempt.task_id).or_default() += 1;
        }
    }
    assert_eq!(successes.len(), tasks);
    assert!(successes.values().all(|count| *count == 1), "{successes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_run_again_without_using_a_retry() {
    let world = World::new().await;
    world.add(dag("lost", &[("a", &[])])).await;
    let scheduler = world.scheduler();
    let died = AtomicBool::new(false);
    let _worker = world.worker_with(
        &["default"],
        Arc::new(move |_| died.swap(true, Ordering::SeqCst).then_some(OutcomeState::Success)),
    );
    let begun = tokio::time::Instant::now();
    let run = world.trigger("lost", "r1").await;
    assert_eq!(world.ended("lost", "r1").await, RunState::Success);
    assert!(begun.elapsed() < Duration::from_secs(15), "took {:?}", begun.elapsed());
    let attempts = world.store.attempts(run).await.unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|a| a.outcome.unwrap()).collect();
    assert_eq!(outcomes, [OutcomeState::Lost, OutcomeState::Success]);
    assert!(attempts[0].token < attempts[1].token);
    assert!((scheduler.counter(metric::LEASE_EXPIRIES) - 1.0).abs() < 0.1);
    scheduler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_schedulers_share_the_work_without_harm() {
    let world = World::new().await;
    world.add(chain(12)).await;
    let (one, two) = (world.scheduler(), world.scheduler());
    let _worker = world.worker();
    let mut runs = Vec::new();
    for i in 0..8 {
        runs.push(world.trigger("chain", &format!("r{i}")).await);
    }
    for (i, run) in runs.iter().enumerate() {
        assert_eq!(world.ended("chain", &format!("r{i}")).await, RunState::Success);
        each_succeeded_once(&world, *run, 12).await;
        assert_eq!(world.store.attempts(*run).await.unwrap().len(), 12);
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_scheduler_is_taken_over() {
    let world = World::new().await;
    world.add(chain(10)).await;
    let mut worker = world.worker();
    let run = world.trigger("chain", "r1").await;
    for round in 0..4 {
        let scheduler = world.scheduler();
        let ran = worker.ran.recv().await.unwrap();
        assert!(ran.workload.task_id.as_str() >= format!("t{round:02}").as_str());
        scheduler.kill().await;
    }
    let scheduler = world.scheduler();
    assert_eq!(world.ended("chain", "r1").await, RunState::Success);
    each_succeeded_once(&world, run, 10).await;
    scheduler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_survivor_takes_over_timers_of_a_killed_scheduler() {
    let world = World::new().await;
    let mut spec = dag("timer", &[("a", &[])]);
    spec["tasks"][0]["retries"] = serde_json::json!(1);
    spec["tasks"][0]["retry_delay"] = serde_json::json!(20.0);
    world.add(spec).await;
    let first = world.scheduler();
    let _worker = world.worker_with(
        &["default"],
        Arc::new(|w| {
            Some(if w.try_number == 1 { OutcomeState::Failed } else { OutcomeState::Success })
        }),
    );
    let second = world.scheduler();
    let run = world.trigger("timer", "r1").await;
    world.in_state(run, "a", TaskState::UpForRetry).await;
    first.kill().await;
    assert_eq!(world.ended("timer", "r1").await, RunState::Success);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn messages_that_the_broker_lost_are_published_again() {
    let world = World::new().await;
    world.add(dag("purged", &[("a", &[])])).await;
    let options = SchedulerOptions { republish_base: Duration::from_secs(5), ..World::options() };
    let scheduler = world.scheduler_with(options);
    let run = world.trigger("purged", "r1").await;
    until("the message to be there and marked", || async {
        world.broker.stats("default").await.ok().filter(|stats| stats.ready == 1)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.broker.purge("default").await.unwrap(), 1);
    let _worker = world.worker();
    assert_eq!(world.ended("purged", "r1").await, RunState::Success);
    assert_eq!(world.store.attempts(run).await.unwrap().len(), 1, "same attempt, new message");
    assert!(scheduler.counter(metric::REPUBLISHED) >= 1.0);
    scheduler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_loses_nothing() {
    let world = World::new().await;
    world.add(chain(6)).await;
    let scheduler = world.scheduler();
    let mut worker = world.worker();
    let run = world.trigger("chain", "r1").await;
    for _ in 0..3 {
        worker.ran.recv().await.unwrap();
        world.store.set_down(true);
        tokio::time::sleep(Duration::from_secs(20)).await;
        world.store.set_down(false);
    }
    assert_eq!(world.ended("chain", "r1").await, RunState::Success);
    each_succeeded_once(&world, run, 6).await;
    assert_eq!(world.store.attempts(run).await.unwrap().len(), 6);
    scheduler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn commits_whose_answer_was_lost_are_recognized() {
    let world = World::new().await;
    world.add(chain(6)).await;
    let scheduler = world.scheduler();
    let mut worker = world.worker();
    let run = world.trigger("chain", "r1").await;
    for _ in 0..4 {
        worker.ran.recv().await.unwrap();
        world.store.lose_commits(2);
    }
    assert_eq!(world.ended("chain", "r1").await, RunState::Success);
    each_succeeded_once(&world, run, 6).await;
    scheduler.stop().await;
}

/// S13: while the store is away nobody can renew; nobody may be punished for it.
#[tokio::test(start_paused = true)]
async fn an_outage_kills_no_healthy_attempt() {
    let world = World::new().await;
    world.add(dag("long", &[("a", &[])])).await;
    let scheduler = world.scheduler();
    let mut worker = world.worker_with(&["default"], Arc::new(|_| None));
    let run = world.trigger("long", "r1").await;
    let ran = worker.ran.recv().await.unwrap();
    let heart = tokio::spawn(heart(world.clone(), ran.workload.clone()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.store.set_down(true);
    tokio::time::sleep(Duration::from_secs(55)).await;
    world.store.set_down(false);
    tokio::time::sleep(Duration::from_secs(30)).await;
    heart.abort();
    let attempts = world.store.attempts(run).await.unwrap();
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert_eq!(attempts[0].ended_at, None);
    // Without a heart it is reaped as usual.
    until("the attempt to be lost", || async {
        let attempts = world.store.attempts(run).await.ok()?;
        (attempts[0].outcome == Some(OutcomeState::Lost)).then_some(())
    })
    .await;
    scheduler.stop().await;
}

/// S13, the other half: the API is away (nobody renews, its heartbeat stops), the store is not.
#[tokio::test(start_paused = true)]
async fn a_silent_api_kills_no_healthy_attempt() {
    let world = World::new().await;
    world.add(dag("long", &[("a", &[])])).await;
    let scheduler = world.scheduler();
    let mut worker = world.worker_with(&["default"], Arc::new(|_| None));
    let web = tokio::spawn(web_job(world.clone(), 1));
    let run = world.trigger("long", "r1").await;
    let ran = worker.ran.recv().await.unwrap();
    let renewing = tokio::spawn(heart(world.clone(), ran.workload.clone()));
    tokio::time::sleep(Duration::from_secs(31)).await;
    web.abort();
    renewing.abort();
    tokio::time::sleep(Duration::from_secs(50)).await;
    let web = tokio::spawn(web_job(world.clone(), 2));
    let renewing = tokio::spawn(heart(world.clone(), ran.workload.clone()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let attempts = world.store.attempts(run).await.unwrap();
    assert_eq!((attempts.len(), attempts[0].ended_at), (1, None), "{attempts:?}");
    // The API lives and the worker does not: lost within a lease.
    renewing.abort();
    let silent_since = tokio::time::Instant::now();
    until("the attempt to be lost", || async {
        let attempts = world.store.attempts(run).await.ok()?;
        (attempts[0].outcome == Some(OutcomeState::Lost)).then_some(())
    })
    .await;
    assert!(silent_since.elapsed() < Duration::from_secs(12));
    web.abort();
    scheduler.stop().await;
}

async fn web_job(world: World, id: u128) {
    loop {
        let job = JobRow {
            id: Uuid::from_u128(id),
            job_type: "WebJob".to_owned(),
            hostname: "test".to_owned(),
            ended: false,
            started_at: world.now(),
            heartbeat_at: world.now(),
        };
        world.store.job_heartbeat(&job).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_broker_gets_everything_again_at_once() {
    let world = World::new().await;
    world.add(dag("restart", &[("a", &[]), ("b", &[])])).await;
    let scheduler = world.scheduler();
    let run = world.trigger("restart", "r1").await;
    until("both messages", || async {
        world.broker.stats("default").await.ok().filter(|stats| stats.ready == 2)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.broker.restart_empty().await;
    let begun = tokio::time::Instant::now();
    let _worker = world.worker();
    assert_eq!(world.ended("restart", "r1").await, RunState::Success);
    assert!(begun.elapsed() < Duration::from_secs(4), "took {:?}", begun.elapsed());
    each_succeeded_once(&world, run, 2).await;
    scheduler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_published_waits_in_the_outbox() {
    let world = World::new().await;
    world.add(chain(3)).await;
    let scheduler = world.scheduler();
    world.broker.refuse_publishing(true);
    let run = world.trigger("chain", "r1").await;
    world.in_state(run, "t00", TaskState::Queued).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.broker.refuse_publishing(false);
    let _worker = world.worker();
    let begun = tokio::time::Instant::now();
    assert_eq!(world.ended("chain", "r1").await, RunState::Success);
    assert!(begun.elapsed() < Duration::from_secs(4), "took {:?}", begun.elapsed());
    each_succeeded_once(&world, run, 3).await;
    scheduler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cache_of_one_plan_is_slow_but_right() {
    let world = World::new().await;
    let mut spec = chain(5);
    spec["tasks"][2]["retries"] = serde_json::json!(1);
    world.add(spec).await;
    let scheduler = world.scheduler_with(SchedulerOptions { cached_runs: 1, ..World::options() });
    let _worker = world.worker_with(
        &["default"],
        Arc::new(|w| {
            let failed = w.task_id == "t02" && w.try_number == 1;
            Some(if failed { OutcomeState::Failed } else { OutcomeState::Success })
        }),
    );
    for i in 0..6 {
        world.trigger("chain", &format!("r{i}")).await;
    }
    for i in 0..6 {
        assert_eq!(world.ended("chain", &format!("r{i}")).await, RunState::Success);
    }
    scheduler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn depends_on_past_moves_when_the_past_does() {
    let world = World::new().await;
    let mut spec = dag("past", &[("a", &[])]);
    spec["tasks"][0]["depends_on_past"] = serde_json::json!(true);
    spec["schedule"] = serde_json::json!({
        "kind": "cron", "expr": "* * * * *", "timezone": "UTC", "interval": true});
    spec["start_date"] = serde_json::json!("2026-11-20T23:57:00Z");
    spec["catchup"] = serde_json::json!(true);
    world.add(spec).await;
    let scheduler = world.scheduler();
    let mut worker = world.worker_with(&["default"], Arc::new(|_| None));
    let first = worker.ran.recv().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(worker.ran.try_recv().is_err(), "the second run must wait for the first");
    drop(worker);
    let mut worker = world.worker();
    let run = world.run("past", &first.workload.run_id).await;
    let claimed = tradewind_store::model::ClaimedAttempt {
        run,
        task_id: "a".into(),
        map_index: -1,
        try_number: 1,
        max_tries: 0,
        queued_at: world.now(),
        upstream_ended_at: None,
        prev_success_interval: None,
    };
    let freed = tokio::time::Instant::now();
    world.send(&world.outcome(&first.workload, &claimed, OutcomeState::Success)).await;
    let second = worker.ran.recv().await.unwrap();
    let third = worker.ran.recv().await.unwrap();
    assert!(freed.elapsed() < Duration::from_millis(500), "waited {:?}", freed.elapsed());
    assert!(first.workload.run_id < second.workload.run_id);
    assert!(second.workload.run_id < third.workload.run_id);
    scheduler.stop().await;
}

/// Renews every 3 s, as a worker does.
async fn heart(world: World, workload: Workload) {
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let request = HeartbeatRequest {
            worker: "celery@test".to_owned(),
            instance: Uuid::from_u128(9),
            hostname: "test".to_owned(),
            queues: vec!["default".to_owned()],
            slots: 1,
            attempts: vec![LeaseItem { attempt_id: workload.attempt_id(), token: workload.token }],
        };
        let _ = world.store.heartbeat(&request, Duration::from_secs(10), world.now()).await;
    }
}

/// Nobody who looked before is there to see that the broker is another one.
#[tokio::test(start_paused = true)]
async fn a_broker_that_restarted_unseen_gets_everything_again() {
    let world = World::new().await;
    world.add(dag("unseen", &[("a", &[]), ("b", &[])])).await;
    let scheduler = world.scheduler();
    let run = world.trigger("unseen", "r1").await;
    until("both messages", || async {
        world.broker.stats("default").await.ok().filter(|stats| stats.ready == 2)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    scheduler.kill().await;
    world.broker.restart_empty().await;
    let begun = tokio::time::Instant::now();
    let scheduler = world.scheduler();
    let _worker = world.worker();
    assert_eq!(world.ended("unseen", "r1").await, RunState::Success);
    assert!(begun.elapsed() < Duration::from_secs(4), "took {:?}", begun.elapsed());
    each_succeeded_once(&world, run, 2).await;
    scheduler.stop().await;
}

/// Its task has ended by then; the attempt must not be looked for ever after.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_cancelled_while_it_runs_ends() {
    let world = World::new().await;
    let mut spec = dag("cut", &[("a", &[]), ("b", &[])]);
    spec["fail_fast"] = serde_json::json!(true);
    world.add(spec).await;
    let scheduler = world.scheduler();
    let silent_b = |w: &Workload| (w.task_id == "a").then_some(OutcomeState::Failed);
    let _worker = world.worker_with(&["default"], Arc::new(silent_b));
    let run = world.trigger("cut", "r1").await;
    assert_eq!(world.ended("cut", "r1").await, RunState::Failed);
    assert_eq!(world.task(run, "b").await.state, TaskState::Skipped);
    until("both attempts to have ended", || async {
        let attempts = world.store.attempts(run).await.ok()?;
        attempts.iter().all(|attempt| attempt.ended_at.is_some()).then_some(())
    })
    .await;
    scheduler.stop().await;
}
