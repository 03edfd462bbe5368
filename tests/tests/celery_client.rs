//! Unmodified Celery clients and tools of two releases against a Rust worker, on Redis and on RabbitMQ.

use std::time::Duration;

use serde_json::Value;
use tradewind_services::{Rabbit, Redis, RedisOptions};
use tradewind_tests::celery::{Setting, Version};
use tradewind_tests::poll::until;

/// What every client can do; each name is a check in `tests/python/checks_*.py`.
const CHECKS: &[&str] = &[
    // Single tasks.
    "delay_and_get",
    "send_task_by_name",
    "keyword_arguments",
    "values_come_back_unchanged",
    "a_large_argument",
    "many_tasks",
    "failure_has_class_text_and_traceback",
    "wrong_arguments_are_a_type_error",
    "a_number_that_a_task_cannot_hold_is_refused",
    "unknown_task_is_not_registered",
    "countdown",
    "eta",
    "expired_is_revoked",
    "not_yet_expired_runs",
    "priority_reaches_the_task",
    "retry_runs_again",
    "retries_end_with_the_error",
    "ignored_results_are_not_stored",
    "ids_of_a_single_task",
    "soft_time_limit",
    "hard_time_limit",
    "compressed_and_msgpack_bodies",
    "protocol_1",
    // What follows a task.
    "errback_gets_the_failed_id",
    "chain_of_three",
    "chain_has_root_and_parents",
    "chain_stops_at_a_failure",
    "long_chain",
    "group_of_ten",
    "chunks_map_and_starmap",
    // Remote control, events, tools.
    "inspect_ping",
    "inspect_ping_of_another_node_is_not_answered",
    "inspect_stats",
    "inspect_active_and_query_task",
    "inspect_reserved_answers",
    "inspect_scheduled",
    "inspect_registered",
    "inspect_active_queues",
    "inspect_conf_and_clock",
    "revoke_before_it_runs",
    "revoke_many",
    "terminate_a_running_task",
    "rate_limit",
    "rate_limit_slows_down",
    "time_limit",
    "pool_grow_and_shrink",
    "add_and_cancel_consumer",
    "enable_and_disable_events",
    "unknown_command_is_an_error",
    "status_tool",
    "inspect_tool",
    "events_tool",
];

/// What needs a result backend that stores: Celery's `rpc://` has no chords.
const STORED: &[&str] = &[
    "forget_removes_the_result",
    "immutable_link",
    "link_and_children",
    "progress_is_a_state",
    "chunks_by_name",
    "group_is_saved_and_restored",
    "chord_of_ten",
    "chord_keeps_numbers",
    "chord_of_one",
    "chord_with_a_failed_part",
    "chord_in_a_chain",
    "chord_at_the_end_of_a_chain",
    "chord_of_chains",
    "chord_of_chords",
    "group_after_a_task",
    "chord_with_retries",
];

const NODE: &str = "celery@rust";

fn check(setting: &Setting, version: Version, wanted: &[&[&str]]) {
    let mut worker = setting.rust_worker(NODE, &[]);
    let verdicts = setting.script(version, NODE, "client_checks.py", &[]);
    assert!(worker.alive(), "the worker goes on");
    let wanted = wanted.concat();
    let failed: Vec<String> = wanted
        .iter()
        .filter(|name| verdicts[**name] != "ok")
        .map(|name| format!("{name}: {}", verdicts[*name]))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {} failed:\n{}",
        failed.len(),
        wanted.len(),
        failed.join("\n")
    );
    let known = verdicts.as_object().map(|all| all.keys()).into_iter().flatten();
    let unlisted: Vec<&String> = known.filter(|name| !wanted.contains(&name.as_str())).collect();
    assert!(unlisted.is_empty(), "checks that nobody asks for: {unlisted:?}");
    shut_down(setting, version, &mut worker);
}

/// `celery control shutdown` ends it as SIGTERM does.
fn shut_down(setting: &Setting, version: Version, worker: &mut tradewind_tests::fleet::Role) {
    let done = setting.script(version, NODE, "shutdown.py", &[]);
    assert_eq!(done, Value::Bool(true));
    until("the worker to drain", Duration::from_secs(60), || (!worker.alive()).then_some(()));
    assert!(worker.output().contains("DrainReport"), "{}", worker.log());
}

fn on_redis(version: Version) {
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    check(&Setting::new(redis.url(), redis.url()), version, &[CHECKS, STORED]);
}

fn on_rabbitmq(version: Version) {
    let rabbit = Rabbit::start().expect("RabbitMQ starts");
    check(&Setting::new(rabbit.url(), "rpc://"), version, &[CHECKS]);
}

#[test]
fn celery_5_6_on_redis() {
    on_redis(Version::V5_6);
}

#[test]
fn celery_5_7_on_redis() {
    on_redis(Version::V5_7);
}

#[test]
fn celery_5_6_on_rabbitmq() {
    on_rabbitmq(Version::V5_6);
}

#[test]
fn celery_5_7_on_rabbitmq() {
    on_rabbitmq(Version::V5_7);
}
