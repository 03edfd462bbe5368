//! Separate processes on real servers: 2 schedulers, 1 web, 3 workers on different queues. A ledger
//! that the tasks write is compared with the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tradewind_services::{Postgres, Rabbit, Redis, RedisOptions};
use tradewind_tests::dags;
use tradewind_tests::fleet::{Fleet, Role};
use tradewind_tests::ledger::Ledger;

const ETL_RUNS: usize = 100;
const FAN_RUNS: usize = 20;
const FAN_WIDTH: u32 = 100;
const LIMIT: Duration = Duration::from_secs(240);

#[test]
fn a_day_on_rabbitmq_and_postgres() {
    let rabbit = Rabbit::start().expect("RabbitMQ starts");
    let postgres = Postgres::start().expect("PostgreSQL starts");
    a_day(Fleet::new(rabbit.url(), "", postgres.url()));
}

#[test]
fn a_day_on_redis_and_postgres() {
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    let postgres = Postgres::start().expect("PostgreSQL starts");
    a_day(Fleet::new(redis.url(), postgres.url(), postgres.url()));
}

fn start_all(fleet: &mut Fleet) -> Vec<Role> {
    fleet.env.ok(&["db", "migrate"]);
    vec![
        fleet.start_web(),
        fleet.start(&["scheduler"]),
        fleet.start(&["scheduler"]),
        fleet.start(&["worker", "-Q", "default", "-c", "8", "-n", "one@host"]),
        fleet.start(&["worker", "-Q", "default,heavy", "-c", "8", "-n", "two@host"]),
        fleet.start(&["worker", "-Q", "heavy,light", "-c", "8", "-n", "three@host"]),
    ]
}

fn a_day(mut fleet: Fleet) {
    let ledger = Ledger::new(fleet.home());
    fleet.dag("etl.py", &dags::etl(&ledger.path()));
    fleet.dag("fan.py", &dags::fan_out(FAN_WIDTH, &ledger.path()));
    fleet.dag("rules.py", dags::RULES);
    fleet.dag("queued.py", &dags::queues(&["default", "heavy", "light"], 6, "0.1", &ledger.path()));
    let mut roles = start_all(&mut fleet);
    for dag in ["etl", "fan", "rules", "queued"] {
        fleet.wait_for_dag(dag);
    }
    fleet.trigger("rules", "r1");
    fleet.trigger("queued", "q1");
    for number in 0..ETL_RUNS {
        fleet.trigger("etl", &format!("etl-{number}"));
    }
    for number in 0..FAN_RUNS {
        fleet.trigger("fan", &format!("fan-{number}"));
    }

    let etl = fleet.wait_for_runs("etl", ETL_RUNS, LIMIT);
    let fan = fleet.wait_for_runs("fan", FAN_RUNS, LIMIT);
    fleet.wait_for_runs("rules", 1, LIMIT);
    fleet.wait_for_runs("queued", 1, LIMIT);

    check_rules(&fleet);
    let workers_of_queues = check_queues(&fleet);
    assert_eq!(
        workers_of_queues["heavy"],
        BTreeSet::from(["three@host".into(), "two@host".into()])
    );
    assert_eq!(workers_of_queues["light"], BTreeSet::from(["three@host".into()]));
    let mut seen = check_runs(&fleet, &etl, 3);
    seen.extend(check_runs(&fleet, &fan, FAN_WIDTH as usize + 2));
    assert!(seen.contains("one@host") && seen.contains("two@host"), "work is spread: {seen:?}");

    let counts = ledger.counts("done");
    let expected = ETL_RUNS * 3 + FAN_RUNS * (FAN_WIDTH as usize + 2) + 18;
    assert_eq!(counts.len(), expected, "every task wrote to the ledger");
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "every task ran once: {twice:?}");
    for role in roles.iter_mut().rev() {
        assert_eq!(role.terminate(), Some(0), "a role ends well on SIGTERM:\n{}", role.log());
    }
}

fn check_rules(fleet: &Fleet) {
    let states = fleet.states("rules", "r1");
    let found: BTreeMap<&str, &str> = states
        .iter()
        .map(|task| (task["task_id"].as_str().expect("id"), task["state"].as_str().expect("state")))
        .collect();
    for (task, state) in dags::rules_expected() {
        assert_eq!(found.get(task), Some(&state), "state of {task}");
    }
}

/// Which workers ran tasks of each queue.
fn check_queues(fleet: &Fleet) -> BTreeMap<String, BTreeSet<String>> {
    let mut workers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for task in fleet.states("queued", "q1") {
        assert_eq!(task["state"], "success", "{task}");
        let queue = task["queue"].as_str().expect("queue").to_owned();
        workers.entry(queue).or_default().insert(worker(&task));
    }
    workers
}

fn worker(task: &Value) -> String {
    task["worker"].as_str().expect("worker").to_owned()
}

/// Every run succeeded with every task; the workers that took part.
fn check_runs(fleet: &Fleet, runs: &[Value], tasks: usize) -> BTreeSet<String> {
    let mut workers = BTreeSet::new();
    for run in runs {
        let dag = run["dag_id"].as_str().expect("dag");
        let states = fleet.states(dag, run["run_id"].as_str().expect("run"));
        let odd: Vec<_> = states.iter().filter(|task| task["state"] != "success").take(3).collect();
        assert_eq!(run["state"], "success", "{run}: {odd:?}");
        assert_eq!(states.len(), tasks);
        for task in &states {
            assert_eq!(task["state"], "success", "{task}");
            assert_eq!(task["try_number"], 1, "{task}");
            workers.insert(worker(task));
        }
    }
    workers
}
