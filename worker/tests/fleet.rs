//! Messages: dead letters, claims, native tasks, outages and drains.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use support::{QUEUE, Rig, WAIT, bash, is_alive, pid_in, until, workload};
use tradewind_broker::{Broker as _, ResultBackend as _};
use tradewind_proto::limits::MESSAGE_BODY_BYTES_MAX;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::sign::SigningKey;
use tradewind_proto::state::OutcomeState;
use tradewind_proto::{AttemptId, names};
use tradewind_worker::fleet::Tasks;
use uuid::Uuid;

fn noop() -> TaskMessage {
    TaskMessage::json(names::TASK_NOOP, Uuid::now_v7(), &json!([]), &json!({}))
}

async fn dead_letter(rig: &Rig, message: TaskMessage) -> String {
    let dlq = format!("{QUEUE}{}", names::DEAD_LETTER_SUFFIX);
    rig.broker.purge(&dlq).await.expect("purge");
    rig.broker.publish(QUEUE, message).await.expect("publish");
    let deadline = tokio::time::Instant::now() + WAIT;
    loop {
        let dead = rig.broker.peek(&dlq, 1).await.expect("peek");
        if let Some(message) = dead.first() {
            return message.dead_reason().expect("reason").to_owned();
        }
        assert!(tokio::time::Instant::now() < deadline, "a dead letter in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_dead_lettered_with_their_reason_and_the_worker_goes_on() {
    let mut rig = Rig::start(|_| {}).await;
    let good = workload(AttemptId(Uuid::now_v7()), "t");
    let forged = SigningKey::from_seed(&[8; 32]).expect("key").seal(&good).expect("frame");
    let mut tampered = rig.seal(&good);
    let last = tampered.body.len() - 1;
    tampered.body[last] ^= 1;
    let frame = |body| TaskMessage::frame(names::TASK_WORKLOAD, Uuid::now_v7(), body);
    let changed = |change: &dyn Fn(&mut TaskMessage)| {
        let mut message = noop();
        change(&mut message);
        message
    };
    for (message, reason) in [
        (changed(&|m| drop(m.headers.remove("task"))), "no task"),
        (changed(&|m| m.set_header("task", "proj.add")), "unknown task \"proj.add\""),
        (changed(&|m| m.content_type = "application/x-yaml".into()), "yaml"),
        (changed(&|m| m.content_type = "application/x-python-serialize".into()), "never read"),
        (changed(&|m| m.body = b"[[], {".to_vec()), "syntax"),
        (frame(b"nonsense".to_vec()), "malformed frame"),
        (frame(forged), "bad signature: unknown key"),
        (tampered, "bad signature by key"),
    ] {
        let found = dead_letter(&rig, message).await;
        assert!(found.contains(reason), "{found:?} should say {reason:?}");
    }
    assert_eq!(rig.metric("tradewind_dead_letters_total", QUEUE), 8.0);
    let done = rig.run_one(bash("true")).await;
    assert_eq!(done.state(), OutcomeState::Success);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_body_is_still_read() {
    // Our publishers refuse a larger one; that a foreign one is dead-lettered is a unit test of `admit`.
    let mut rig = Rig::start(|_| {}).await;
    let mut message = noop();
    message.body =
        format!("[[\"{}\"], {{}}, {{}}]", "x".repeat(MESSAGE_BODY_BYTES_MAX - 100)).into();
    let id = message.id().expect("id").to_owned();
    rig.broker.publish(QUEUE, message).await.expect("publish");
    let result = rig.results.wait(&id, WAIT).await.expect("results").expect("a result");
    assert_eq!(result.state, "SUCCESS");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_delivery_runs_once() {
    let mut rig = Rig::start(|_| {}).await;
    let (id, message) = rig.prepare(bash("echo ran"));
    for _ in 0..3 {
        rig.broker.publish(QUEUE, message.clone()).await.expect("publish");
    }
    assert_eq!(rig.outcome().await.attempt_id(), id);
    until("duplicates counted", || rig.metric("tradewind_worker_claims_total", "duplicate") == 2.0)
        .await;
    let report = rig.stop().await;
    assert_eq!((report.finished, report.unsent), (1, 0));
    assert!(rig.no_outcome().await);
    assert_eq!(rig.broker.stats(QUEUE).await.expect("stats").ready, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_was_lost_is_repeated_with_its_nonce() {
    let mut rig = Rig::start(|_| {}).await;
    rig.api.lose_claim_answers.store(2, Ordering::SeqCst);
    let done = rig.run_one(bash("true")).await;
    assert_eq!(done.state(), OutcomeState::Success);
    assert_eq!(rig.api.claims.load(Ordering::SeqCst), 3);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_back_while_the_api_is_away() {
    let mut rig = Rig::start(|_| {}).await;
    // The key is known before the outage.
    rig.run_one(bash("true")).await;
    rig.api.down.store(true, Ordering::SeqCst);
    rig.submit(bash("true")).await;
    until("given back", || rig.metric("tradewind_worker_claims_total", "unavailable") >= 1.0).await;
    rig.api.down.store(false, Ordering::SeqCst);
    assert_eq!(rig.outcome().await.state(), OutcomeState::Success);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_api_stops_nothing_that_runs() {
    let mut rig = Rig::start(|_| {}).await;
    let folder = tempfile::tempdir().expect("folder");
    let (pid, go) = (folder.path().join("pid"), folder.path().join("go"));
    let command = format!(
        "echo $$ > {}; until [ -e {} ]; do sleep 0.02; done; echo end",
        pid.display(),
        go.display()
    );
    rig.submit(bash(&command)).await;
    let running = pid_in(&pid).await;
    rig.api.down.store(true, Ordering::SeqCst);
    until("heartbeats fail", || rig.api.refused_heartbeats.load(Ordering::SeqCst) > 5).await;
    assert!(is_alive(running));
    std::fs::write(&go, "").expect("file");
    until("the process ends", || !is_alive(running)).await;
    rig.api.down.store(false, Ordering::SeqCst);
    let done = rig.outcome().await;
    assert_eq!((done.state(), done.xcoms[0].json.as_str()), (OutcomeState::Success, "\"end\""));
    until("the log arrives", || rig.api.log(done.attempt_id()).contains("stdout end")).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_attempts_end_within_the_grace() {
    let mut rig = Rig::start(|_| {}).await;
    let folder = tempfile::tempdir().expect("folder");
    let pid = folder.path().join("pid");
    rig.submit(bash(&format!("echo $$ > {}; sleep 0.3; echo end", pid.display()))).await;
    pid_in(&pid).await;
    let report = rig.stop().await;
    assert_eq!((report.finished, report.handed_back, report.unsent), (1, 0, 0));
    assert_eq!(rig.outcome().await.state(), OutcomeState::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_hands_back_what_does_not_end_in_time() {
    let mut rig = Rig::start(|options| options.grace_seconds = 0).await;
    let folder = tempfile::tempdir().expect("folder");
    let pid = folder.path().join("pid");
    let id = rig.submit(bash(&format!("echo $$ > {}; sleep 300", pid.display()))).await;
    let running = pid_in(&pid).await;
    let report = rig.stop().await;
    assert_eq!((report.finished, report.handed_back, report.unsent), (0, 1, 0));
    let done = rig.outcome().await;
    assert_eq!((done.attempt_id(), done.state()), (id, OutcomeState::HandedBack));
    assert!(!is_alive(running));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_cuts_the_grace_short() {
    let mut rig = Rig::start(|options| options.grace_seconds = 3600).await;
    let folder = tempfile::tempdir().expect("folder");
    let pid = folder.path().join("pid");
    rig.submit(bash(&format!("echo $$ > {}; sleep 300", pid.display()))).await;
    pid_in(&pid).await;
    rig.handle.hurry();
    assert_eq!(rig.stop().await.handed_back, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn native_tasks_store_celerys_meta_and_then_ack() {
    let mut tasks = Tasks::default();
    tasks.add("add", async |_context, (a, b): (i64, i64)| Ok(a + b));
    let mut rig = Rig::start_with(|_| {}, &tasks, "").await;
    for (args, state, result) in [
        (json!([2, 3]), "SUCCESS", json!(5)),
        (
            json!([2]),
            "FAILURE",
            json!({
                "exc_type": "TypeError", "exc_module": "builtins",
                "exc_message": ["add() takes 2 positional arguments but 1 were given"],
            }),
        ),
    ] {
        let id = Uuid::now_v7();
        let message = TaskMessage::json("add", id, &args, &json!({}));
        rig.broker.publish(QUEUE, message).await.expect("publish");
        let stored = rig.results.wait(&id.to_string(), WAIT).await.expect("results");
        let stored = stored.expect("a result");
        let meta: Value = serde_json::from_slice(&stored.meta).expect("json");
        assert_eq!(
            (stored.state.as_str(), &meta["status"], &meta["result"]),
            (state, &json!(state), &result)
        );
        assert_eq!((&meta["task_id"], &meta["children"]), (&json!(id.to_string()), &json!([])));
    }
    let mut late = noop();
    late.set_header("expires", "2020-01-01T00:00:00Z");
    let id = late.id().expect("id").to_owned();
    rig.broker.publish(QUEUE, late).await.expect("publish");
    let stored = rig.results.wait(&id, WAIT).await.expect("results").expect("a result");
    assert_eq!(stored.state, "REVOKED");
    rig.stop().await;
    assert_eq!(rig.broker.stats(QUEUE).await.expect("stats").unacked, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_no_ops_are_drained() {
    const MANY: usize = 5_000;
    let mut rig = Rig::start(|options| options.concurrency = 256).await;
    let begun = std::time::Instant::now();
    let messages =
        (0..MANY).map(|_| tradewind_broker::Outgoing { queue: QUEUE.to_owned(), message: noop() });
    for result in rig.broker.publish_many(messages.collect()).await {
        result.expect("published");
    }
    until("all done", || {
        rig.metric("tradewind_worker_task_runs_total", "SUCCESS") as usize == MANY
    })
    .await;
    println!("{MANY} no-ops through memory drivers in {:?}", begun.elapsed());
    let report = rig.stop().await;
    assert_eq!(report.finished as usize, MANY);
    let stats = rig.broker.stats(QUEUE).await.expect("stats");
    assert_eq!((stats.ready, stats.unacked), (0, 0));
}
