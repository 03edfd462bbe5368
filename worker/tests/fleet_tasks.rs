//! Fleet tasks on memory, Redis and RabbitMQ: what ends how, what survives a dead worker, and the limits.

mod fleet_pace;
mod fleet_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fleet_support::{Kind, Peer, Rig};
use serde_json::{Value, json};
use tradewind_broker::coordination::Revoked;
use tradewind_proto::celery::Signature;
use tradewind_worker::fleet::{
    Batch, Conflict, Context, KeyOf, Limit, Retry, RetryPolicy, StopReason, TaskError, Tasks,
    Unique, stamp_key,
};

macro_rules! on_all {
    ($($case:ident),* $(,)?) => {$(
        mod $case {
            use super::fleet_support::Kind;

            #[test]
            fn memory() {
                super::run(Kind::Memory, super::cases::$case);
            }
            #[test]
            fn redis() {
                super::run(Kind::Redis, super::cases::$case);
            }
            #[test]
            fn rabbitmq() {
                super::run(Kind::RabbitMq, super::cases::$case);
            }
        }
    )*};
}

on_all!(
    every_ending_is_told,
    times_and_limits,
    revoked_tasks_do_not_run,
    chords_grow_and_arguments_change,
    canvases_survive_a_dead_worker,
    limits_hold,
    poison_is_quarantined,
);

/// Two workers together start no more per second than the fleet may.
#[test]
fn a_fleet_wide_rate_holds_for_two_workers() {
    run(Kind::Redis, async |rig| {
        let (task, mut tasks) = (rig.name("rated"), Tasks::default());
        tasks.add(&task, async |_context, (): ()| Ok(()));
        tasks.options(&task, |o| o.fleet_rate_limit = "10/s".parse().ok());
        let workers = [rig.worker(tasks.clone()).await, rig.worker(tasks).await];
        let begun = std::time::Instant::now();
        let mut ids = Vec::new();
        for _ in 0..12 {
            ids.push(rig.send(call(&task)).await);
        }
        for id in &ids {
            assert_eq!(rig.result(id).await.status, "SUCCESS");
        }
        // The first one is free; the others have a tenth of a second each, whoever runs them.
        assert!(begun.elapsed() >= Duration::from_millis(1_090), "{:?}", begun.elapsed());
        for worker in workers {
            worker.stop().await;
        }
    });
}

fn run<R: Future<Output = ()>>(kind: Kind, case: impl Fn(Rig) -> R) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("runtime").block_on(async move { case(Rig::new(kind).await).await });
}

fn call(task: &str) -> Signature {
    Signature::new(task)
}

fn basics() -> Tasks {
    let mut tasks = Tasks::default();
    tasks.add("add", async |_context, (a, b): (i64, i64)| Ok(a + b));
    tasks.add("sum", async |_context, (all,): (Vec<i64>,)| Ok(all.iter().sum::<i64>()));
    tasks.add("fail", async |_context, (text,): (String,)| -> Result<(), _> {
        Err(TaskError::fail("ValueError", text))
    });
    tasks.add("echo", async |_context, (value,): (Value,)| Ok(value));
    tasks.add("for_ever", async |_context, (): ()| {
        std::future::pending::<()>().await;
        Ok(())
    });
    tasks
}

mod cases {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Known {
        level: i64,
        name: String,
    }

    pub(super) async fn every_ending_is_told(rig: Rig) {
        let mut tasks = basics();
        tasks.add("flaky", async |context: Context, (good_at,): (u32,)| {
            if context.retries() < good_at {
                return Err(TaskError::fail("OSError", "away"));
            }
            Ok(context.retries())
        });
        tasks.options("flaky", |o| o.retry = RetryPolicy::jittered(2, Duration::from_millis(5)));
        tasks.add("panic", async |_context, (): ()| -> Result<(), _> { panic!("at the disco") });
        #[expect(clippy::disallowed_methods, reason = "blocking is what this handler is for")]
        tasks.add_blocking("block", |_context, (ms,): (u64,)| {
            std::thread::sleep(Duration::from_millis(ms));
            Ok("unblocked")
        });
        tasks.add("reject", async |_context, (): ()| -> Result<(), _> {
            Err(TaskError::reject("not for us"))
        });
        tasks.add("ignore", async |_context, (): ()| -> Result<(), _> { Err(TaskError::Ignore) });
        tasks.add("progress", async |context: Context, (): ()| {
            context.progress(json!({"done": 3})).await?;
            context.cancelled().await;
            Ok(())
        });
        let worker = rig.worker(tasks).await;
        let ends = async |signature| {
            let meta = rig.run(signature).await;
            (meta.status.clone(), meta.result)
        };
        assert_eq!(ends(call("add").arg(2).arg(3)).await, ("SUCCESS".into(), json!(5)));
        assert_eq!(ends(call("flaky").arg(2)).await, ("SUCCESS".into(), json!(2)));
        let (state, result) = ends(call("flaky").arg(9)).await;
        assert_eq!((state.as_str(), &result["exc_type"]), ("FAILURE", &json!("OSError")));
        let (state, result) = ends(call("panic")).await;
        assert_eq!((state.as_str(), &result["exc_type"]), ("FAILURE", &json!("Panic")));
        assert!(result["exc_message"][0].as_str().is_some_and(|text| text.contains("disco")));
        assert_eq!(ends(call("block").arg(1)).await.1, json!("unblocked"));
        let map = call("celery.starmap").kwarg("task", json!({"task": "add"}));
        assert_eq!(ends(map.kwarg("it", json!([[1, 2], [3, 4]]))).await.1, json!([3, 7]));

        let chunks = call("celery.chunks").kwarg("task", json!({"task": "add"})).kwarg("n", 2);
        let group = ends(chunks.kwarg("it", json!([[1, 2], [3, 4], [5, 6]]))).await.1;
        let parts = group[1].as_array().expect("the parts of a group").clone();
        let ids: Vec<&str> = parts.iter().filter_map(|part| part[0][0].as_str()).collect();
        assert_eq!(rig.result(ids[0]).await.result, json!([3, 7]));
        assert_eq!(rig.result(ids[1]).await.result, json!([11]));

        // Errbacks get the id of what failed, and callbacks what came out.
        let failing = call("fail").arg("no").option("task_id", rig.name("failed"));
        let errback = call("echo").option("task_id", rig.name("errback"));
        rig.send(failing.link_error(errback)).await;
        assert_eq!(rig.result(&rig.name("errback")).await.result, json!(rig.name("failed")));
        let callback = call("echo").option("task_id", rig.name("callback"));
        let parent = rig.run(call("add").arg(1).arg(1).link(callback)).await;
        assert_eq!(rig.result(&rig.name("callback")).await.result, json!(2));
        let children = parent.children.expect("children");
        assert_eq!(children[0][0][0], json!(rig.name("callback")));

        let id = rig.send(call("progress")).await;
        rig.until_state(&id, "PROGRESS").await;
        worker.state.revoke(std::slice::from_ref(&id), Some(15));
        assert_eq!(rig.result(&id).await.status, "REVOKED");

        rig.send(call("reject")).await;
        assert!(rig.dead_reason().await.contains("not for us"));
        let ignored = rig.send(call("ignore")).await;
        let silent = rig.send(call("add").arg(1).arg(1).option("ignore_result", true)).await;
        rig.until("settled", || worker.state.active().is_empty()).await;
        rig.run(call("add").arg(0).arg(0)).await;
        assert!(!rig.has_result(&ignored).await && !rig.has_result(&silent).await);
        worker.stop().await;
    }

    pub(super) async fn chords_grow_and_arguments_change(rig: Rig) {
        let mut tasks = basics();
        tasks.add("grow", async |context: Context, (more,): (Vec<i64>,)| {
            for number in more {
                context.add_to_chord(call("add").arg(number).arg(10)).await?;
            }
            let sum = Signature::chord([call("add").arg(1).arg(1)], call("echo"));
            context.add_to_chord(sum).await?;
            Ok(0)
        });
        tasks.add("learn", async |context: Context, known: Known| match context.retries() {
            0 => {
                let args = Some(vec![json!(known.level + 1)]);
                Err(TaskError::Retry(Box::new(Retry {
                    args,
                    countdown: Some(Duration::ZERO),
                    ..Retry::default()
                })))
            }
            _ => Ok(json!([known.level, known.name])),
        });
        let worker = rig.worker(tasks).await;
        let grow = call("grow").arg(json!([1, 2]));
        let chord = Signature::chord([grow, call("add").arg(3).arg(4)], call("echo"));
        let parts = rig.run(chord).await.result;
        let mut parts = parts.as_array().expect("the parts of the chord").clone();
        parts.sort_by_key(Value::to_string);
        assert_eq!(parts, [json!(0), json!(11), json!(12), json!(7), json!([2])]);

        let (state, result) = {
            let meta = rig.run(call("grow").arg(json!([1]))).await;
            (meta.status, meta.result)
        };
        assert_eq!((state.as_str(), &result["exc_type"]), ("FAILURE", &json!("ValueError")));

        let learn = call("learn").kwarg("level", 1).kwarg("name", "kept");
        assert_eq!(rig.run(learn).await.result, json!([2, "kept"]));
        worker.stop().await;
    }

    pub(super) async fn times_and_limits(rig: Rig) {
        let mut tasks = basics();
        tasks.add("tidy", async |context: Context, (): ()| {
            assert_eq!(context.cancelled().await, StopReason::SoftTimeLimit);
            Ok("tidied up")
        });
        let worker = rig.worker(tasks).await;
        // Postponed ones hold nothing: with 4 slots, 10 of them do not keep others from running.
        let mut later = Vec::new();
        for n in 0..10 {
            later.push(rig.send(call("add").arg(n).arg(n).option("countdown", 1.0)).await);
        }
        assert_eq!(rig.run(call("add").arg(1).arg(2)).await.result, json!(3));
        for (n, id) in later.iter().enumerate() {
            assert_eq!(rig.result(id).await.result, json!(2 * n));
        }
        let late = call("add").arg(1).arg(1).option("expires", "2020-01-01T00:00:00Z");
        let late = rig.run(late).await;
        assert_eq!(
            (late.status.as_str(), &late.result["exc_message"][0]),
            ("REVOKED", &json!("expired"))
        );
        let soft = rig.run(call("for_ever").option("soft_time_limit", 0.05)).await;
        assert_eq!(soft.result["exc_type"], json!("SoftTimeLimitExceeded"));
        let tidy = rig.run(call("tidy").option("soft_time_limit", 0.05)).await;
        assert_eq!(tidy.result, json!("tidied up"));
        let hard = rig.run(call("for_ever").option("time_limit", 0.05)).await;
        assert_eq!(hard.result["exc_type"], json!("TimeLimitExceeded"));
        worker.stop().await;
    }

    pub(super) async fn revoked_tasks_do_not_run(rig: Rig) {
        let worker = rig.worker(basics()).await;
        worker.state.revoke(&[rig.name("known")], None);
        let known = rig.run(call("for_ever").option("task_id", rig.name("known"))).await;
        assert_eq!(known.status, "REVOKED");
        let running = rig.send(call("for_ever")).await;
        rig.until("it runs", || !worker.state.active().is_empty()).await;
        let one = std::slice::from_ref(&running);
        assert_eq!(worker.state.revoke(one, Some(9)), one);
        let terminated = rig.result(&running).await;
        assert_eq!(terminated.result["exc_message"], json!(["terminated"]));
        if let Some(shared) = &rig.coordinator {
            // Durable: this worker was never told.
            let all = [Revoked { id: rig.name("fleet"), terminate: false }];
            shared.revoke(&all, Duration::from_secs(60)).await.expect("revoked");
            let fleet = rig.run(call("for_ever").option("task_id", rig.name("fleet"))).await;
            assert_eq!(fleet.status, "REVOKED");
            // Nor of the stamp, under which this one comes.
            let tenant = rig.name("tenant");
            let all = [Revoked { id: stamp_key("tenant", &tenant), terminate: false }];
            shared.revoke(&all, Duration::from_secs(60)).await.expect("revoked");
            let stamps = json!({"stamped_headers": ["tenant"], "stamps": {"tenant": [tenant]}});
            let stamped = rig.run(call("for_ever").option("headers", stamps)).await;
            assert_eq!(stamped.status, "REVOKED");
        }
        worker.stop().await;
    }

    pub(super) async fn canvases_survive_a_dead_worker(rig: Rig) {
        let gate = Arc::new(AtomicU32::new(0));
        let with_gate = |gate: &Arc<AtomicU32>| {
            let (mut tasks, gate) = (basics(), Arc::clone(gate));
            tasks.add("gated", move |_context, (n,): (i64,)| {
                let gate = Arc::clone(&gate);
                async move {
                    while gate.load(Ordering::SeqCst) == 0 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Ok(n + 100)
                }
            });
            tasks
        };
        let first = rig.worker(with_gate(&gate)).await;
        let group = Signature::group([
            call("gated"),
            Signature::chain([call("add").arg(1), call("add").arg(1)]),
        ]);
        let canvas =
            Signature::chain([call("add").arg(1).arg(2), group, call("sum"), call("add").arg(1)]);
        let id = rig.send(canvas).await;
        rig.until("it is stuck", || {
            first.state.active().iter().any(|view| view.seen.request.task == "gated")
        })
        .await;
        first.kill();
        gate.store(1, Ordering::SeqCst);
        let second = rig.worker(with_gate(&gate)).await;
        // 1 + 2 = 3; 103 and 5; 108; 109.
        assert_eq!(rig.result(&id).await.result, json!(109));

        // A failed part fails the body, and what waits for the body.
        let header = [call("add").arg(1).arg(1), call("fail").arg("part")];
        let body = call("sum").link_error(call("echo").option("task_id", rig.name("told")));
        let chord = rig.run(Signature::chord(header, body)).await;
        assert_eq!(
            (chord.status.as_str(), &chord.result["exc_type"]),
            ("FAILURE", &json!("ChordError"))
        );
        rig.result(&rig.name("told")).await;
        let chain = Signature::chain([call("fail").arg("early"), call("echo"), call("echo")]);
        assert_eq!(rig.run(chain).await.result["exc_type"], json!("ValueError"));
        second.stop().await;
    }

    pub(super) async fn limits_hold(rig: Rig) {
        let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (now_, most_) = (Arc::clone(&now), Arc::clone(&most));
        let mut tasks = basics();
        tasks.add("narrow", move |_context, (_n,): (u32,)| {
            let (now, most) = (Arc::clone(&now_), Arc::clone(&most_));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        });
        tasks.options("narrow", |o| o.concurrency = vec![Limit { most: 1, per: None }]);
        tasks.add("once", async |_context, (_key,): (String,)| Ok("ran"));
        tasks.options("once", |o| {
            let window = Some(Duration::from_secs(60));
            o.unique = Some(Unique { key: KeyOf::args(), conflict: Conflict::Drop, window });
        });
        tasks.add("slow_rate", async |_context, (): ()| Ok(()));
        tasks.options("slow_rate", |o| o.rate_limit = "4/s".parse().ok());
        tasks.add("early", async |_context, (): ()| {
            std::future::pending::<()>().await;
            Ok(())
        });
        tasks.options("early", |o| o.acks_late = false);
        let batch = Batch { size: 4, within: Duration::from_secs(30) };
        tasks.add_batch("together", batch, async |calls: Vec<(Context, (u32,))>| {
            let size = calls.len();
            calls.into_iter().map(|(_, (n,))| Ok((n, size))).collect()
        });
        let worker = rig.worker(tasks.clone()).await;
        let mut ids = Vec::new();
        for n in 0..4 {
            ids.push(rig.send(call("together").arg(n)).await);
        }
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(rig.result(id).await.result, json!([n, 4]));
        }
        let mut ids = Vec::new();
        for n in 0..4 {
            ids.push(rig.send(call("narrow").arg(n)).await);
        }
        for id in &ids {
            assert_eq!(rig.result(id).await.status, "SUCCESS");
        }
        assert_eq!(most.load(Ordering::SeqCst), 1);
        let key = rig.name("key");
        assert_eq!(rig.run(call("once").arg(key.as_str())).await.status, "SUCCESS");
        let second = rig.run(call("once").arg(key.as_str())).await;
        assert_eq!(second.result["exc_message"], json!(["duplicate"]));
        assert_eq!(rig.run(call("once").arg(rig.name("another"))).await.status, "SUCCESS");
        let begun = std::time::Instant::now();
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(rig.send(call("slow_rate")).await);
        }
        for id in &ids {
            rig.result(id).await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(490), "{:?}", begun.elapsed());
        early_acks_and_drains(rig, tasks, worker).await;
    }

    async fn early_acks_and_drains(rig: Rig, tasks: Tasks, worker: Peer) {
        // Acked early: it dies with its worker.
        let lost = rig.send(call("early")).await;
        rig.until("it runs", || worker.state.active().iter().any(|view| view.acknowledged)).await;
        worker.kill();
        let next = rig.worker(tasks).await;
        rig.run(call("add").arg(1).arg(1)).await;
        assert!(!rig.has_result(&lost).await);
        rig.until_ready(0).await;
        // What still runs at the end is given back.
        rig.send(call("for_ever")).await;
        rig.until("it runs", || !next.state.active().is_empty()).await;
        let report = next.stop().await;
        assert_eq!(report.handed_back, 1);
        rig.until_ready(1).await;
    }

    pub(super) async fn poison_is_quarantined(rig: Rig) {
        if rig.coordinator.is_none() {
            return;
        }
        rig.send(call("for_ever")).await;
        let good = rig.send(call("add").arg(1).arg(1)).await;
        // The first run is free; three more are counted; the next look is the last.
        for death in 0..4 {
            let worker = rig.worker(basics()).await;
            rig.until(&format!("run {death}"), || {
                worker.state.active().iter().any(|view| view.seen.request.task == "for_ever")
            })
            .await;
            worker.kill();
        }
        let worker = rig.worker(basics()).await;
        let reason = rig.dead_reason().await;
        assert!(reason.contains("poison") && reason.contains("celery@"), "{reason}");
        assert_eq!(rig.result(&good).await.result, json!(2));
        worker.stop().await;
    }
}
