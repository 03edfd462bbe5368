//! Killing things under a working fleet: nothing is lost, nothing runs twice that should not.

use std::time::{Duration, Instant};

use tradewind_services::{Postgres, Rabbit, Redis, RedisOptions};
use tradewind_tests::dags;
use tradewind_tests::fleet::Fleet;
use tradewind_tests::ledger::Ledger;
use tradewind_tests::poll::{pause, until};

const LIMIT: Duration = Duration::from_secs(90);

struct Servers {
    redis: Redis,
    postgres: Postgres,
}

fn servers() -> Servers {
    Servers {
        // As Debian ships it: a crash loses everything.
        redis: Redis::start(RedisOptions { appendonly: false }).expect("Redis starts"),
        postgres: Postgres::start().expect("PostgreSQL starts"),
    }
}

impl Servers {
    fn fleet(&self) -> (Fleet, Ledger) {
        let fleet = Fleet::new(self.redis.url(), self.postgres.url(), self.postgres.url());
        fleet.env.ok(&["db", "migrate"]);
        let ledger = Ledger::new(fleet.home());
        (fleet, ledger)
    }
}

fn begun(ledger: &Ledger) -> usize {
    ledger.lines().iter().filter(|line| line[3] == "begin").count()
}

#[test]
fn tasks_of_a_killed_worker_run_again_elsewhere() {
    let servers = servers();
    let (mut fleet, ledger) = servers.fleet();
    fleet.dag("queued.py", &dags::queues(&["default"], 4, "3", &ledger.path()));
    let _web = fleet.start_web();
    let _scheduler = fleet.start(&["scheduler"]);
    let mut first = fleet.start(&["worker", "-c", "4", "-n", "first@host"]);
    fleet.wait_for_dag("queued");
    fleet.trigger("queued", "q1");
    until("4 tasks to begin", LIMIT, || (begun(&ledger) == 4).then_some(()));
    let _second = fleet.start(&["worker", "-c", "4", "-n", "second@host"]);
    first.kill9();
    let killed = Instant::now();
    until("4 tasks to begin again", Duration::from_secs(15), || {
        (begun(&ledger) == 8).then_some(())
    });
    println!("all 4 tasks ran again {:.1} s after the kill", killed.elapsed().as_secs_f64());
    fleet.wait_for_runs("queued", 1, LIMIT);
    for task in fleet.states("queued", "q1") {
        assert_eq!(task["state"], "success", "{task}");
        assert_eq!(task["worker"], "second@host", "{task}");
        assert_eq!(task["try_number"], 1, "a lost attempt is not a retry: {task}");
    }
    let done: usize = ledger.counts("done").values().sum();
    assert_eq!(done, 4, "the killed worker's processes did not go on");
}

#[test]
fn the_other_scheduler_goes_on_at_once() {
    let servers = servers();
    let (mut fleet, ledger) = servers.fleet();
    fleet.dag("etl.py", &dags::etl(&ledger.path()));
    let _web = fleet.start_web();
    let mut first = fleet.start(&["scheduler"]);
    let _second = fleet.start(&["scheduler"]);
    let _worker = fleet.start(&["worker", "-c", "8"]);
    fleet.wait_for_dag("etl");
    for number in 0..40 {
        fleet.trigger("etl", &format!("r{number}"));
        if number == 20 {
            first.kill9();
        }
    }
    let runs = fleet.wait_for_runs("etl", 40, Duration::from_secs(30));
    assert!(runs.iter().all(|run| run["state"] == "success"), "{runs:?}");
    let counts = ledger.counts("done");
    assert_eq!(counts.len(), 120);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}

#[test]
fn a_redis_that_forgets_everything_loses_nothing() {
    let mut servers = servers();
    let (mut fleet, ledger) = servers.fleet();
    fleet.env.set("TRADEWIND__CORE__DEFAULT_POOL_SLOTS", "-1");
    fleet.dag("queued.py", &dags::queues(&["default"], 200, "0.01", &ledger.path()));
    let _web = fleet.start_web();
    let _scheduler = fleet.start(&["scheduler"]);
    fleet.wait_for_dag("queued");
    fleet.trigger("queued", "q1");
    until("200 messages in the queue", LIMIT, || {
        let queues = fleet.env.rows(&["queues", "list"]);
        (queues[0]["ready"].as_u64()? == 200).then_some(())
    });
    servers.redis.kill9();
    servers.redis.restart().expect("Redis starts again");
    let _worker = fleet.start(&["worker", "-c", "16"]);
    let runs = fleet.wait_for_runs("queued", 1, LIMIT);
    assert_eq!(runs[0]["state"], "success");
    let counts = ledger.counts("done");
    assert_eq!(counts.len(), 200);
    assert!(counts.values().all(|count| *count == 1), "nothing ran twice");
}

#[test]
fn a_killed_rabbitmq_loses_nothing() {
    let mut rabbit = Rabbit::start().expect("RabbitMQ starts");
    let postgres = Postgres::start().expect("PostgreSQL starts");
    let mut fleet = Fleet::new(rabbit.url(), "", postgres.url());
    fleet.env.set("TRADEWIND__CORE__DEFAULT_POOL_SLOTS", "-1");
    fleet.env.ok(&["db", "migrate"]);
    let ledger = Ledger::new(fleet.home());
    fleet.dag("queued.py", &dags::queues(&["default"], 200, "0.01", &ledger.path()));
    let _web = fleet.start_web();
    let _scheduler = fleet.start(&["scheduler"]);
    let _worker = fleet.start(&["worker", "-c", "4"]);
    fleet.wait_for_dag("queued");
    fleet.trigger("queued", "q1");
    until("some tasks to begin", LIMIT, || (begun(&ledger) >= 5).then_some(()));
    rabbit.kill9();
    rabbit.restart().expect("RabbitMQ starts again");
    let runs = fleet.wait_for_runs("queued", 1, LIMIT);
    assert_eq!(runs[0]["state"], "success");
    let counts = ledger.counts("done");
    assert_eq!(counts.len(), 200);
    assert!(counts.values().all(|count| *count == 1), "nothing ran twice");
}

#[test]
fn an_api_outage_reruns_no_healthy_task() {
    let servers = servers();
    let (mut fleet, ledger) = servers.fleet();
    fleet.dag("queued.py", &dags::queues(&["default"], 4, "40", &ledger.path()));
    let mut web = fleet.start_web();
    let _scheduler = fleet.start(&["scheduler"]);
    let _worker = fleet.start(&["worker", "-c", "4"]);
    fleet.wait_for_dag("queued");
    fleet.trigger("queued", "q1");
    until("4 tasks to begin", LIMIT, || (begun(&ledger) == 4).then_some(()));
    web.kill9();
    pause(Duration::from_secs(30));
    let url = fleet.env.vars["TRADEWIND__EXECUTION__API_URL"].clone();
    let port = url.rsplit(':').next().expect("port").to_owned();
    let _again = fleet.start(&["web", "--port", &port]);
    let runs = fleet.wait_for_runs("queued", 1, LIMIT);
    assert_eq!(runs[0]["state"], "success");
    assert_eq!(begun(&ledger), 4, "no task was started again");
    for task in fleet.states("queued", "q1") {
        assert_eq!(task["try_number"], 1, "{task}");
    }
}
