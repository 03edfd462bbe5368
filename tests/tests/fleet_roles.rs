//! The processes of the fleet as a user starts them, on a real Redis: a worker that answers, tells and
//! obeys; tasks without Rust code; a beat; the monitor.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tradewind_services::{Postgres, Proxy, Redis, RedisOptions, shared, unique};
use tradewind_tests::fleet::{Fleet, Role, free_port};
use tradewind_tests::poll::until;

/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(30);

fn fleet(config: &str) -> Fleet {
    let mut fleet = Fleet::new(&shared::redis_url(), "", "");
    fleet.env.vars.remove("TRADEWIND__DATABASE__URL");
    std::fs::write(fleet.home().join("tradewind.toml"), config).expect("configuration");
    fleet
}

fn printed(role: &Role, text: &str) {
    until(&format!("{text:?} in the output"), SOON, || role.output().contains(text).then_some(()));
}

#[test]
fn a_worker_answers_tells_and_obeys() {
    let mut fleet = fleet("");
    let (queue, other) = (unique("cli"), unique("cli"));
    let node = format!("celery@{queue}");
    let to = ["-d", node.as_str(), "-t", "20"];
    let mut worker = fleet.start(&["worker", "-Q", &queue, "-n", &node, "-E"]);
    let ask = |words: &[&str]| fleet.env.ok(&[words, &to[..]].concat());

    let ok = format!("->  {node}: OK");
    assert_eq!(ask(&["status"]), format!("{ok}\n\n1 node online.\n"));
    assert_eq!(ask(&["inspect", "ping"]), format!("{ok}\n        pong\n\n1 node online.\n"));
    assert!(ask(&["inspect", "registered"]).contains("* tradewind.noop"));
    let stats: serde_json::Value =
        serde_json::from_str(&ask(&["inspect", "stats", "--json"])).expect("JSON");
    assert!(stats[&node]["pool"]["max-concurrency"].is_number(), "{stats}");
    let conf = ask(&["inspect", "conf"]);
    assert!(conf.contains(&queue), "{conf}");
    let limited = ask(&["control", "rate_limit", "tradewind.noop", "1000/s"]);
    assert!(limited.contains("new rate limit set successfully"), "{limited}");
    ask(&["control", "add_consumer", &other]);
    assert!(ask(&["inspect", "active_queues"]).contains(&other));

    let send = ["task", "send", "tradewind.noop", "-q", &other, "--wait"];
    assert_eq!(fleet.env.ok(&send).trim(), "null");
    let revoked = unique("id");
    assert!(fleet.env.ok(&["task", "revoke", &revoked, "-t", "2"]).contains("1 task revoked"));
    let send = ["task", "send", "tradewind.noop", "-q", &queue, "--id", &revoked, "--wait"];
    let refused = fleet.env.run(&send);
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("REVOKED"), "{refused}");

    fleet.env.ok(&["control", "shutdown", "-d", &node]);
    until("the worker to stop", SOON, || (!worker.alive()).then_some(()));
    assert!(worker.output().contains("worker stopped"), "{}", worker.output());
}

#[test]
fn configured_tasks_run_when_they_are_due_and_events_tell() {
    let queue = unique("cli");
    let mut fleet = fleet(&format!(
        "[tasks.\"{queue}.hello\"]\ncommand = ['echo', 'hello {{0}}']\nqueue = '{queue}'\n\
         [beat.tick]\ntask = '{queue}.hello'\nargs = ['beat']\nevery = 1\nqueue = '{queue}'\n"
    ));
    let events = fleet.spawn(&["events", "--dump"]);
    printed(&events, "capturing events");
    let _worker = fleet.start(&["worker", "-Q", &queue, "-n", &format!("celery@{queue}"), "-E"]);
    let task = format!("{queue}.hello");
    let sent = fleet.env.ok(&["task", "send", &task, "-a", "[\"shell\"]", "--wait"]);
    assert_eq!(sent.trim(), "hello shell");
    printed(&events, &format!("celery@{queue} ["));
    printed(&events, &format!("task received: {task}("));
    printed(&events, "task succeeded");
    let mut beat = fleet.start(&["beat"]);
    until("a task of the beat", SOON, || {
        let line = |line: &&str| line.contains(&task) && line.contains("beat");
        events.output().lines().find(line).map(str::to_owned)
    });
    assert_eq!(beat.terminate(), Some(0), "{}", beat.log());
}

#[test]
fn the_monitor_knows_the_worker_and_asks_for_a_password() {
    let mut fleet = fleet("");
    fleet.env.set("FLOWER_BASIC_AUTH", "ann:secret");
    let queue = unique("cli");
    let node = format!("celery@{queue}");
    let port = free_port();
    let _flower = fleet.start(&["flower", "--port", &port.to_string()]);
    let _worker = fleet.start(&["worker", "-Q", &queue, "-n", &node, "-E"]);
    assert!(get(port, "/api/workers", None).starts_with("HTTP/1.1 401"));
    // ann:secret
    until("the worker", SOON, || {
        get(port, "/api/workers", Some("YW5uOnNlY3JldA==")).contains(&node).then_some(())
    });
    let metrics = get(port, "/metrics", None);
    assert!(metrics.contains(&format!("flower_worker_online{{worker=\"{node}\"}} 1")), "{metrics}");
}

/// A broker that is away is no news after the first second.
#[test]
fn the_monitor_says_once_that_the_broker_is_away() {
    let redis = Redis::start(RedisOptions { appendonly: true }).expect("Redis starts");
    let proxy = Proxy::start(redis.port()).expect("proxy starts");
    let mut fleet = Fleet::new(&proxy.url(redis.url()), "", "");
    fleet.env.vars.remove("TRADEWIND__DATABASE__URL");
    let flower = fleet.start(&["flower", "--port", &free_port().to_string()]);
    let count = |words: &str| flower.log().lines().filter(|line| line.contains(words)).count();
    for outage in 1..=2 {
        proxy.cut();
        let before = proxy.refused();
        // More tries than there are ways to the broker: some were made again.
        until("many tries", SOON, || (proxy.refused() > before + 4).then_some(()));
        until("the warning", SOON, || (count("the broker cannot be reached") > 0).then_some(()));
        assert_eq!(count("WARN"), outage, "{}", flower.log());
        proxy.restore();
        until("the return", SOON, || (count("the broker is back") == outage).then_some(()));
    }
    let log = flower.log();
    let back = log.lines().find(|line| line.contains("the broker is back")).expect("a line");
    let back: serde_json::Value = serde_json::from_str(back).expect("JSON");
    assert!(back["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{back}");
    assert_eq!(count("WARN"), 2, "{log}");
}

/// The pages' process has the monitor too: API below `/flower`, metrics on its own page.
#[test]
fn the_pages_have_the_monitor() {
    let postgres = Postgres::start().expect("PostgreSQL starts");
    let mut fleet = Fleet::new(&shared::redis_url(), "", postgres.url());
    fleet.env.set("FLOWER_BASIC_AUTH", "ann:secret");
    fleet.env.ok(&["db", "migrate"]);
    let queue = unique("cli");
    let node = format!("celery@{queue}");
    let mut web = fleet.start_web();
    let url = fleet.env.vars["TRADEWIND__EXECUTION__API_URL"].clone();
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("its port");
    let _worker = fleet.start(&["worker", "-Q", &queue, "-n", &node, "-E"]);
    assert!(get(port, "/flower/api/workers", None).starts_with("HTTP/1.1 401"));
    until("the worker", SOON, || {
        get(port, "/flower/api/workers", Some("YW5uOnNlY3JldA==")).contains(&node).then_some(())
    });
    let metrics = get(port, "/metrics", None);
    for line in
        [format!("flower_worker_online{{worker=\"{node}\"}} 1"), "tradewind_store_up 1".to_owned()]
    {
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
    assert!(get(port, "/dags", None).starts_with("HTTP/1.1 200"));
    assert_eq!(web.terminate(), Some(0), "{}", web.log());
}

/// A GET over a plain socket; all of the answer.
fn get(port: u16, path: &str, basic: Option<&str>) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let auth = basic.map(|pair| format!("Authorization: Basic {pair}\r\n")).unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}Connection: close\r\n\r\n")
        .expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}
