//! A worker process under signals, without its broker, and with slots by demand.

use std::time::Duration;

use serde_json::Value;
use tradewind_services::{Redis, RedisOptions, shared, unique};
use tradewind_tests::fleet::{Fleet, Role, free_port};
use tradewind_tests::http;
use tradewind_tests::poll::until;

/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(40);

/// Waits until a file is there.
const WAIT_FOR: &str = r#"['sh', '-c', 'until [ -e "$0" ]; do sleep 0.05; done', '{0}']"#;

/// A home whose configuration has a task that waits until a file is there.
fn fleet(broker: &str, queue: &str, worker: &str) -> Fleet {
    let mut fleet = Fleet::new(broker, "", "");
    fleet.env.vars.remove("TRADEWIND__DATABASE__URL");
    let config = format!(
        "[worker]\n{worker}\n[tasks.\"{queue}.wait\"]\ncommand = {WAIT_FOR}\nqueue = '{queue}'\n"
    );
    std::fs::write(fleet.home().join("tradewind.toml"), config).expect("configuration");
    fleet
}

fn start(fleet: &mut Fleet, queue: &str, more: &[&str]) -> Role {
    let node = format!("celery@{queue}");
    fleet.start(&[&["worker", "-Q", queue, "-n", &node][..], more].concat())
}

/// Sends a task that waits for a file of the home; its id.
fn send(fleet: &Fleet, queue: &str, file: &str) -> String {
    let task = format!("{queue}.wait");
    let args = format!("[\"{}\"]", fleet.home().join(file).display());
    fleet.env.ok(&["task", "send", &task, "-a", &args]).trim().to_owned()
}

fn open(fleet: &Fleet, file: &str) {
    std::fs::write(fleet.home().join(file), "").expect("file");
}

fn inspect(fleet: &Fleet, queue: &str, what: &str) -> Option<Value> {
    let node = format!("celery@{queue}");
    let asked = fleet.env.run(&["inspect", what, "--json", "-d", &node, "-t", "5"]);
    let answer: Value = serde_json::from_slice(&asked.stdout).ok()?;
    Some(answer[&node].clone())
}

fn until_running(fleet: &Fleet, queue: &str, count: usize) {
    until(&format!("{count} tasks to run"), SOON, || {
        let active = inspect(fleet, queue, "active")?;
        (active.as_array()?.len() == count).then_some(())
    });
}

fn ready(fleet: &Fleet, queue: &str) -> Value {
    let rows = fleet.env.rows(&["queues", "list"]);
    let row = rows.into_iter().find(|row| row["queue"] == queue);
    row.map(|row| row["ready"].clone()).unwrap_or_default()
}

#[test]
fn sigterm_lets_tasks_end_within_the_grace_and_hands_back_the_rest() {
    let queue = unique("drain");
    let mut fleet = fleet(&shared::redis_url(), &queue, "grace = 5");
    let mut worker = start(&mut fleet, &queue, &["-c", "2"]);
    let id = send(&fleet, &queue, "open");
    send(&fleet, &queue, "never");
    until_running(&fleet, &queue, 2);
    send(&fleet, &queue, "never");
    worker.ask_to_end();
    worker.wait_for("worker drains", SOON);
    open(&fleet, "open");
    assert_eq!(worker.ended(SOON), Some(0), "{}", worker.log());
    let said = worker.output();
    assert!(said.contains("1 ended, 1 handed back while running"), "{said}");
    let result = fleet.env.ok(&["task", "result", &id, "--json"]);
    assert!(result.contains("SUCCESS"), "{result}");
    assert_eq!(ready(&fleet, &queue), 2, "the one handed back, and the one that was never taken");
}

#[test]
fn a_second_signal_hands_back_at_once() {
    let queue = unique("drain");
    let mut fleet = fleet(&shared::redis_url(), &queue, "grace = 3600");
    let mut worker = start(&mut fleet, &queue, &["-c", "1"]);
    send(&fleet, &queue, "never");
    until_running(&fleet, &queue, 1);
    worker.ask_to_end();
    worker.wait_for("a second signal", SOON);
    worker.ask_to_end();
    assert_eq!(worker.ended(SOON), Some(0), "{}", worker.log());
    let said = worker.output();
    assert!(said.contains("0 ended, 1 handed back while running"), "{said}");
    assert_eq!(ready(&fleet, &queue), 1);
}

#[test]
fn slots_follow_the_demand() {
    let queue = unique("scale");
    let mut fleet = fleet(&shared::redis_url(), &queue, "autoscale_keepalive = 1");
    // Seven is more than four times the one slot of the start.
    let _worker = start(&mut fleet, &queue, &["--autoscale", "7,1"]);
    let slots = |fleet: &Fleet| {
        let stats = inspect(fleet, &queue, "stats")?;
        stats["pool"]["max-concurrency"].as_u64()
    };
    until("one slot", SOON, || (slots(&fleet) == Some(1)).then_some(()));
    for _ in 0..7 {
        send(&fleet, &queue, "open");
    }
    until_running(&fleet, &queue, 7);
    assert_eq!(slots(&fleet), Some(7));
    open(&fleet, "open");
    until("one slot again", SOON, || (slots(&fleet) == Some(1)).then_some(()));
}

#[test]
fn a_worker_without_its_broker_is_not_ready_and_gives_up() {
    let mut server = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    let (queue, port) = (unique("alone"), free_port());
    let settings = format!("exit_when_unreachable = 8\nops_port = {port}");
    let mut fleet = fleet(server.url(), &queue, &settings);
    let mut worker = start(&mut fleet, &queue, &[]);
    let health = |wanted: u16| {
        until(&format!("health {wanted}"), SOON, || {
            (http::get(port, "/health/ready")?.status == wanted).then_some(())
        });
    };
    health(200);
    server.kill9();
    health(503);
    assert_eq!(worker.ended(SOON), Some(69), "{}", worker.log());
    let log = worker.log();
    assert!(log.contains("could not consume for 8 s") && log.contains("giving up"), "{log}");
}
