//! Bash attempts: results, environment, templates, limits and the end of their process trees.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Rig, bash, bash_with, is_alive, pid_in, until};
use tradewind_proto::execution::LeaseVerdict;
use tradewind_proto::state::OutcomeState;

#[tokio::test(flavor = "multi_thread")]
async fn success_pushes_the_last_line_and_ships_the_log() {
    let mut rig = Rig::start(|_| {}).await;
    let command = "echo one; echo two >&2; echo three; echo; echo $AIRFLOW_CTX_TASK_ID > id";
    let done = rig.run_one(bash(command)).await;
    assert_eq!(done.state(), OutcomeState::Success, "{}", done.message);
    assert_eq!((done.xcoms.len(), done.xcoms[0].key.as_str()), (1, "return_value"));
    assert_eq!(done.xcoms[0].json, "\"three\"");
    assert!(done.pid > 0 && done.token == 5 && done.ended_at >= done.started_at);
    // Flushed before the outcome is sent.
    let log = rig.api.log(done.attempt_id());
    assert!(log.contains("Z stdout one\n") && log.contains("Z stderr two\n"), "{log}");
    assert_eq!(rig.metric("tradewind_attempts_total", "success"), 1.0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_and_skips_say_why() {
    let mut rig = Rig::start(|_| {}).await;
    for (task, state, text) in [
        (bash("exit 3"), OutcomeState::Failed, "exit code 3"),
        (bash("exit 99"), OutcomeState::Skipped, "exit code 99"),
        (
            bash_with("exit 7", json!({"args": {"skip_on_exit_code": [7]}})),
            OutcomeState::Skipped,
            "exit code 7",
        ),
        (bash("kill -SEGV $$"), OutcomeState::Failed, "SIGSEGV"),
        (
            bash_with("true", json!({"args": {"cwd": "/nonexistent"}})),
            OutcomeState::Failed,
            "/nonexistent",
        ),
    ] {
        let done = rig.run_one(task).await;
        assert_eq!(done.state(), state, "{}", done.message);
        assert!(done.message.contains(text), "{}", done.message);
        assert!(done.xcoms.is_empty());
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_airflows() {
    let mut rig = Rig::start(|_| {}).await;
    let show = "echo $AIRFLOW_CTX_DAG_ID $AIRFLOW_CTX_TRY_NUMBER $AIRFLOW_CTX_EXECUTION_DATE \
                ${TRACEPARENT:0:2} ${HOME:+home} $MINE";
    let only = json!({"args": {"env": {"MINE": "x"}}});
    let both = json!({"args": {"env": {"MINE": "y"}, "append_env": true}});
    for (more, end) in [(json!({}), "home"), (only, "x"), (both, "home y")] {
        let done = rig.run_one(bash_with(show, more)).await;
        let expected = format!("\"demo 1 2026-11-20T00:00:00+00:00 00 {end}\"");
        assert_eq!(done.xcoms[0].json, expected, "{}", done.message);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_are_rendered_with_lookups() {
    let mut rig = Rig::start(|_| {}).await;
    rig.api.variables.lock().expect("lock").insert("city".to_owned(), "Oslo".to_owned());
    let key = ("up".to_owned(), "return_value".to_owned());
    rig.api.xcoms.lock().expect("lock").insert(key, json!(42));
    let source = "echo {{ ds }} {{ var.value.city }} {{ ti.xcom_pull(task_ids='up') }} $K";
    let task = bash_with(
        source,
        json!({
            "args": {"env": {"K": "{{ run_id }}"}, "append_env": true},
            "templates": [
                {"path": ["bash_command"], "source": source},
                {"path": ["env", "K"], "source": "{{ run_id }}"},
            ],
        }),
    );
    let done = rig.run_one(task).await;
    assert_eq!(done.xcoms[0].json, "\"2026-11-20 Oslo 42 manual__1\"", "{}", done.message);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_kills_grandchildren_in_sessions_of_their_own() {
    let mut rig = Rig::start(|_| {}).await;
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("pid");
    let command = format!(
        "setsid bash -c 'trap \"\" TERM; echo $$ > {}; while true; do sleep 1; done' & \
         trap '' TERM; while true; do sleep 1; done",
        file.display()
    );
    rig.submit(bash_with(&command, json!({"execution_timeout": 1.0}))).await;
    let grandchild = pid_in(&file).await;
    assert!(is_alive(grandchild));
    let done = rig.outcome().await;
    assert_eq!(done.state(), OutcomeState::TimedOut, "{}", done.message);
    assert!(done.message.contains("execution_timeout of 1 s"), "{}", done.message);
    assert!(!is_alive(grandchild), "killed before the outcome was sent");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_finished_command_leaves_behind_is_swept() {
    let mut rig = Rig::start(|_| {}).await;
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("pid");
    let command = format!("setsid sleep 300 >/dev/null 2>&1 & echo $! > {}", file.display());
    let done = rig.run_one(bash(&command)).await;
    assert_eq!(done.state(), OutcomeState::Success, "{}", done.message);
    let daemon = pid_in(&file).await;
    tokio::time::timeout(Duration::from_secs(5), until("swept", || !is_alive(daemon)))
        .await
        .expect("within five seconds");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_attempt_is_killed() {
    let mut rig = Rig::start(|_| {}).await;
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("pid");
    let id = rig.submit(bash(&format!("echo $$ > {}; sleep 300", file.display()))).await;
    let pid = pid_in(&file).await;
    rig.api.verdict(id, LeaseVerdict::Cancel);
    let done = rig.outcome().await;
    assert_eq!((done.attempt_id(), done.state()), (id, OutcomeState::Cancelled));
    assert!(!is_alive(pid));
    // A lost lease: killed too, and nothing is reported.
    let second = folder.path().join("second");
    let id = rig.submit(bash(&format!("echo $$ > {}; sleep 300", second.display()))).await;
    let pid = pid_in(&second).await;
    rig.api.verdict(id, LeaseVerdict::Stale);
    until("killed", || !is_alive(pid)).await;
    until("forgotten", || rig.handle.running() == 0).await;
    assert!(rig.no_outcome().await);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_held_by_a_daemon_does_not_hold_the_attempt() {
    let mut rig = Rig::start(|_| {}).await;
    let begun = std::time::Instant::now();
    let done = rig.run_one(bash("setsid sleep 300 & echo ok")).await;
    assert_eq!((done.state(), done.xcoms[0].json.as_str()), (OutcomeState::Success, "\"ok\""));
    assert!(begun.elapsed() < Duration::from_secs(5));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_line_is_cut() {
    let mut rig = Rig::start(|_| {}).await;
    // The last line is cut to the line limit, which fits: a big value only comes from Python.
    let done = rig.run_one(bash("head -c 100000 /dev/zero | tr '\\0' x")).await;
    assert_eq!(done.state(), OutcomeState::Success);
    assert_eq!(done.xcoms[0].json.len(), 16 * 1024 + 2);
    rig.stop().await;
}
