//! Bad and doubled messages, put straight into the broker by a client that we did not write.

use std::time::Duration;

use redis::Commands as _;
use serde_json::{Value, json};
use tradewind_services::{Postgres, Redis, RedisOptions};
use tradewind_tests::dags;
use tradewind_tests::fleet::Fleet;
use tradewind_tests::ledger::Ledger;
use tradewind_tests::poll::until;

const LIMIT: Duration = Duration::from_secs(30);

fn start() -> (Redis, Postgres, Fleet, Ledger) {
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    let postgres = Postgres::start().expect("PostgreSQL starts");
    let fleet = Fleet::new(redis.url(), postgres.url(), postgres.url());
    fleet.env.ok(&["db", "migrate"]);
    let ledger = Ledger::new(fleet.home());
    (redis, postgres, fleet, ledger)
}

fn connect(redis: &Redis) -> redis::Connection {
    let client = redis::Client::open(redis.url()).expect("URL");
    client.get_connection().expect("connection")
}

/// All messages of a queue: kombu keeps one list per priority step.
fn all(server: &mut redis::Connection, queue: &str) -> Vec<String> {
    let steps = ["", "\u{6}\u{16}3", "\u{6}\u{16}6", "\u{6}\u{16}9"];
    let lists = steps.iter().map(|step| {
        server.lrange::<_, Vec<String>>(format!("{queue}{step}"), 0, -1).expect("range")
    });
    lists.flatten().collect()
}

/// A message in kombu's envelope with a body in base64.
fn envelope(content_type: &str, task: &str, body: &str) -> String {
    json!({
        "body": body, "content-encoding": "binary", "content-type": content_type,
        "headers": {"task": task, "id": "x", "lang": "py", "retries": 0},
        "properties": {
            "correlation_id": "x", "delivery_mode": 2, "priority": 0, "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": "default"}, "delivery_tag": format!("tag-{}", body.len()),
        },
    })
    .to_string()
}

#[test]
fn bad_messages_go_to_the_dead_letter_queue_with_their_reason() {
    let (redis, _postgres, mut fleet, ledger) = start();
    fleet.dag("etl.py", &dags::etl(&ledger.path()));
    let _web = fleet.start_web();
    let _scheduler = fleet.start(&["scheduler"]);
    fleet.wait_for_dag("etl");
    let mut server = connect(&redis);
    // A real workload whose signature is broken by one bit.
    fleet.trigger("etl", "r0");
    let good: String = until("a message", LIMIT, || all(&mut server, "default").into_iter().next());
    let mut forged: Value = serde_json::from_str(&good).expect("an envelope");
    let body = forged["body"].as_str().expect("body").to_owned();
    let last = body.trim_end_matches('=').len() - 3;
    let flipped = if &body[last..=last] == "A" { "B" } else { "A" };
    forged["body"] = format!("{}{flipped}{}", &body[..last], &body[last + 1..]).into();
    forged["properties"]["delivery_tag"] = "forged".into();

    let frame = "application/x-tradewind";
    let huge = "A".repeat(6 * 1024 * 1024);
    let cases: Vec<(String, &str)> = vec![
        ("this is no envelope".to_owned(), "envelope"),
        (envelope(frame, "tradewind.workload", "bm8gZnJhbWU="), "malformed frame"),
        (envelope("application/x-unheard-of", "tradewind.workload", "e30="), "content type"),
        (
            envelope("application/x-python-serialize", "tradewind.workload", "gASVAAAA"),
            "python-serialize",
        ),
        (envelope("application/json", "no.such.task", "W10="), "no.such.task"),
        (forged.to_string(), "signature"),
        (envelope(frame, "tradewind.workload", &huge), "limit"),
    ];
    for (message, _) in &cases {
        let _length: i64 = server.lpush("default", message).expect("push");
    }
    for number in 1..10 {
        fleet.trigger("etl", &format!("r{number}"));
    }
    let mut worker = fleet.start(&["worker", "-c", "4"]);
    let runs = fleet.wait_for_runs("etl", 10, Duration::from_secs(60));
    assert!(runs.iter().all(|run| run["state"] == "success"), "good messages all complete");
    let dead: Vec<String> = until("dead letters", LIMIT, || {
        let dead = all(&mut server, "default.dlq");
        (dead.len() == cases.len()).then_some(dead)
    });
    let reasons: Vec<String> = dead
        .iter()
        .map(|text| {
            let message: Value = serde_json::from_str(text).expect("a dead letter is an envelope");
            message["headers"]["x-tradewind-reason"].as_str().expect("a reason").to_lowercase()
        })
        .collect();
    for (_, word) in &cases {
        assert!(reasons.iter().any(|reason| reason.contains(word)), "{word} in {reasons:#?}");
    }
    assert!(worker.alive(), "the worker goes on");
}

#[test]
fn doubled_messages_run_once() {
    let (redis, _postgres, mut fleet, ledger) = start();
    fleet.dag("queued.py", &dags::queues(&["default"], 40, "0.05", &ledger.path()));
    let _web = fleet.start_web();
    let _scheduler = fleet.start(&["scheduler"]);
    fleet.wait_for_dag("queued");
    fleet.trigger("queued", "q1");
    let mut server = connect(&redis);
    let messages: Vec<String> = until("40 messages", LIMIT, || {
        let found = all(&mut server, "default");
        (found.len() == 40).then_some(found)
    });
    for copy in 0..2 {
        for (number, text) in messages.iter().enumerate() {
            let mut message: Value = serde_json::from_str(text).expect("an envelope");
            message["properties"]["delivery_tag"] = format!("copy-{copy}-{number}").into();
            let _length: i64 = server.lpush("default", message.to_string()).expect("push");
        }
    }
    let _one = fleet.start(&["worker", "-c", "8", "-n", "one@host"]);
    let _two = fleet.start(&["worker", "-c", "8", "-n", "two@host"]);
    let runs = fleet.wait_for_runs("queued", 1, Duration::from_secs(60));
    assert_eq!(runs[0]["state"], "success");
    until("the queue to be empty", LIMIT, || all(&mut server, "default").is_empty().then_some(()));
    let begun = ledger.counts("begin");
    assert_eq!(begun.len(), 40);
    assert!(begun.values().all(|count| *count == 1), "{begun:?}");
}
