//! Commands of the fleet, as a user types them, on a real Redis and a real RabbitMQ.

use std::process::Output;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tradewind_broker::{BrokerOptions, Payload, ResultOptions, StoredResult, open_results};
use tradewind_proto::clock::SystemClock;
use tradewind_services::{shared, unique};
use tradewind_tests::cli::{Env, binary};
use tradewind_tests::fleet::Fleet;

/// Results are in Redis either way: those of `rpc://` are for their sender's process alone.
fn environment(broker: fn() -> String) -> (TempDir, Env) {
    let home = tempfile::tempdir().expect("folder");
    let mut env = Env::new(home.path());
    env.set("TRADEWIND__BROKER__URL", broker());
    env.set("TRADEWIND__RESULTS__URL", shared::redis_url());
    (home, env)
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// Runs a command that must fail with this code; what it printed.
fn fails(env: &Env, code: i32, args: &[&str]) -> String {
    let output = env.run(args);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    text
}

#[test]
fn sent_tasks_can_be_looked_at_and_purged() {
    sent_tasks(shared::redis_url);
}

#[test]
fn sent_tasks_can_be_looked_at_and_purged_on_rabbitmq() {
    sent_tasks(shared::amqp_url);
}

fn sent_tasks(broker: fn() -> String) {
    let (_home, mut env) = environment(broker);
    let queue = unique("cli");
    if env.vars["TRADEWIND__BROKER__URL"].starts_with("amqp") {
        // AMQP does not tell which queues there are: those of the configuration are listed.
        env.set("TRADEWIND__WORKER__QUEUES", &queue);
    }
    let send = ["task", "send", "tests.add", "--args", "[1, 2]", "--kwargs", r#"{"x": "y"}"#];
    let id = env.ok(&[&send[..], &["-q", &queue, "--countdown", "3600"]].concat());
    let rows = env.rows(&["queues", "peek", &queue]);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["id"], id.trim());
    assert_eq!(rows[0]["task"], "tests.add");
    assert_eq!((&rows[0]["args"], &rows[0]["kwargs"]), (&"(1, 2)".into(), &"{'x': 'y'}".into()));
    assert!(rows[0]["eta"].is_string(), "{rows:?}");
    let listed = env.rows(&["queues", "list"]);
    let listed = listed.iter().find(|row| row["queue"] == queue.as_str()).expect("is listed");
    assert_eq!(listed["ready"], 1);

    let refused = fails(&env, 2, &["queues", "purge", &queue]);
    assert!(refused.contains("--force"), "{refused}");
    let purged = env.ok(&["purge", "-f", "-Q", &queue]);
    assert!(purged.starts_with("Purged 1 message from 1 queue"), "{purged}");
    assert!(env.rows(&["queues", "peek", &queue]).is_empty());

    let refused = fails(&env, 2, &["task", "send", "tests.add", "--args", "{}"]);
    assert!(refused.contains("--args must be a JSON array"), "{refused}");
    assert!(fails(&env, 1, &["task", "result", &unique("id")]).contains("has no result"));
}

#[test]
fn dead_letters_can_be_listed_shown_replayed_and_dropped() {
    dead_letters(shared::redis_url);
}

#[test]
fn dead_letters_can_be_listed_shown_replayed_and_dropped_on_rabbitmq() {
    dead_letters(shared::amqp_url);
}

fn dead_letters(broker: fn() -> String) {
    let (_home, env) = environment(broker);
    let queue = unique("cli");
    let ids =
        [(); 3].map(|()| env.ok(&["task", "send", "tests.poison", "-q", &queue]).trim().to_owned());
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(bury(broker, &queue, ids.len()));
    runtime.block_on(fail(&ids[1]));
    assert!(fails(&env, 1, &["task", "result", &ids[1]]).contains("NotRegistered"));

    let letters = env.rows(&["dlq", "list", &queue]);
    let listed: Vec<&Value> = letters.iter().map(|letter| &letter["task_id"]).collect();
    assert_eq!(listed, [&ids[0], &ids[1], &ids[2]]);
    assert_eq!(letters[0]["reason"], "too bad");
    let shown: Value =
        serde_json::from_str(&env.ok(&["dlq", "show", &queue, &ids[1]])).expect("JSON");
    assert_eq!((&shown["task"], &shown["reason"]), (&"tests.poison".into(), &"too bad".into()));
    assert_eq!(shown["body"][0], serde_json::json!([]));

    assert_eq!(env.ok(&["dlq", "replay", &queue, &ids[1]]).trim(), "1 dead letter put back");
    assert_eq!(env.rows(&["queues", "peek", &queue])[0]["id"], ids[1].as_str());
    // How it ended before would hide how it ends now.
    assert!(fails(&env, 1, &["task", "result", &ids[1]]).contains("has no result"));
    let missing = fails(&env, 1, &["dlq", "drop", &queue, &ids[1]]);
    assert!(missing.contains("no such dead letter"), "{missing}");
    fails(&env, 2, &["dlq", "drop", &queue]);
    assert_eq!(env.ok(&["dlq", "drop", &queue, "--all"]).trim(), "2 dead letters removed");
    assert!(env.rows(&["dlq", "list", &queue]).is_empty());
    env.ok(&["purge", "-f", &queue]);
}

/// Stores the result of a task that nobody knew.
async fn fail(id: &str) {
    let url = tokio::task::block_in_place(shared::redis_url);
    let clock = Arc::new(SystemClock);
    let results = open_results(&url, &ResultOptions::default(), clock).await.expect("open");
    let exception = json!({"exc_type": "NotRegistered", "exc_message": ["x"], "exc_module": "m"});
    let meta = json!({"status": "FAILURE", "result": exception, "traceback": null, "task_id": id});
    let stored = StoredResult {
        task_id: id.to_owned(),
        token: 0,
        state: "FAILURE".to_owned(),
        meta: meta.to_string().into_bytes(),
        reply_to: None,
    };
    results.put(stored, std::time::Duration::from_secs(60)).await.expect("put");
}

/// Takes messages and gives them up.
async fn bury(broker: fn() -> String, queue: &str, count: usize) {
    let options = BrokerOptions::default();
    let url = tokio::task::block_in_place(broker);
    let broker = tradewind_broker::open(&url, &options, Arc::new(SystemClock)).await.expect("open");
    let mut consumer = broker.consume(&[queue.to_owned()], 8).await.expect("consume");
    let mut left = count;
    while left > 0 {
        for mut delivery in consumer.next_batch(left).await.expect("deliveries") {
            assert!(matches!(delivery.payload(), Payload::Message(_)));
            delivery.dead_letter("too bad").await.expect("dead-lettered");
            left -= 1;
        }
    }
    consumer.close().await.expect("closed");
}

#[test]
fn celerys_spelling_and_exit_codes_are_kept() {
    celerys_spelling(shared::redis_url);
}

#[test]
fn celerys_spelling_and_exit_codes_are_kept_on_rabbitmq() {
    celerys_spelling(shared::amqp_url);
}

fn celerys_spelling(broker: fn() -> String) {
    let (home, env) = environment(broker);
    let link = home.path().join("celery");
    std::os::unix::fs::symlink(binary(), &link).expect("link");
    let celery = |args: &[&str]| {
        let mut command = std::process::Command::new(&link);
        command.args(args).env_clear().envs(&env.vars).env("TRADEWIND_HOME", home.path());
        command.output().expect("runs")
    };
    let nobody = format!("celery@{}", unique("nobody"));
    let asked = ["-A", "app", "inspect", "ping", "-d", &nobody, "-t", "0.3"];
    let output = celery(&asked);
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert!(text(&output).contains("No nodes replied within time constraint"), "{}", text(&output));

    let queue = unique("cli");
    let called = celery(&["call", "tests.add", "-a", "[1]", "--queue", &queue]);
    assert!(called.status.success(), "{}", text(&called));
    let output = celery(&["purge", "-f", "-Q", &queue]);
    assert!(text(&output).contains("Purged 1 message"), "{}", text(&output));
    let refused = celery(&["-b", "redis://user:hunter2@h:x/0", "status"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("-b") && !text(&refused).contains("hunter2"), "{refused:?}");
    let refused = celery(&["inspect", "pong"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("Available inspect commands"), "{}", text(&refused));
}

#[test]
fn an_in_process_broker_is_refused_where_it_cannot_work() {
    let (_home, mut env) = environment(shared::redis_url);
    env.set("TRADEWIND__BROKER__URL", "memory://");
    for args in [&["status"][..], &["task", "send", "t"], &["dlq", "list"], &["worker"]] {
        let refused = fails(&env, 2, args);
        assert!(refused.contains("in-process broker"), "{refused}");
    }
}

#[test]
fn a_worker_without_an_execution_api_serves_fleet_tasks() {
    a_worker(shared::redis_url);
}

#[test]
fn a_worker_without_an_execution_api_serves_fleet_tasks_on_rabbitmq() {
    a_worker(shared::amqp_url);
}

fn a_worker(broker: fn() -> String) {
    let queue = unique("cli");
    let mut fleet = Fleet::new(&broker(), &shared::redis_url(), "");
    fleet.env.vars.remove("TRADEWIND__DATABASE__URL");
    let name = format!("celery@{queue}");
    let mut worker = fleet.start(&["worker", "-Q", &queue, "-n", &name]);
    let send = ["task", "send", "tradewind.noop", "-q", &queue, "--id", &queue, "--wait"];
    assert_eq!(fleet.env.ok(&send).trim(), "null");
    let result = fleet.env.ok(&["task", "result", &queue, "--json"]);
    let result: Value = serde_json::from_str(&result).expect("JSON");
    assert_eq!(result["status"], "SUCCESS");
    remote_listings(&fleet.env, &name);
    assert_eq!(worker.terminate(), Some(0), "{}", worker.log());
    assert!(!worker.alive());
}

/// Commands that ask workers list as every other command does, and in Celery's own JSON when that is asked for.
fn remote_listings(env: &Env, name: &str) {
    let to = ["-d", name, "-t", "20"];
    let ask = |words: &[&str]| env.rows(&[words, &to[..]].concat());
    assert_eq!(ask(&["status"]), [json!({"worker": name, "status": "OK"})]);
    assert_eq!(
        ask(&["inspect", "ping"]),
        [json!({"worker": name, "status": "OK", "reply": {"ok": "pong"}})]
    );
    let told = ask(&["control", "enable_events"]);
    assert_eq!((&told[0]["worker"], &told[0]["status"]), (&json!(name), &json!("OK")), "{told:?}");
    let commands = env.rows(&["control", "--list"]);
    assert!(commands.iter().any(|row| row["command"] == "revoke"), "{commands:?}");
    let plain = env.ok(&[&["status", "-o", "plain"][..], &to].concat());
    assert_eq!(plain.split_whitespace().collect::<Vec<_>>(), ["worker", "status", name, "OK"]);
    let events = env.ok(&["events", "-o", "json", "--limit", "1"]);
    let event: Value = serde_json::from_str(&events).expect("one JSON object");
    assert!(event["type"].is_string(), "{event}");

    let celery = |words: &[&str]| {
        let text = env.ok(&[&["celery", "-A", "app"], words, &to[..], &["-j"]].concat());
        serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let pong = json!({name: {"ok": "pong"}});
    assert_eq!((celery(&["inspect", "ping"]), celery(&["status"])), (pong.clone(), pong));
    assert!(celery(&["control", "enable_events"])[0][name]["ok"].is_string());
    let both = fails(env, 2, &["status", "-o", "json", "--json"]);
    assert!(both.contains("cannot be used with"), "{both}");
}
