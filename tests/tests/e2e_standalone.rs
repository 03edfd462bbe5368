//! One process, no services: what a newcomer does in the first five minutes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tradewind_tests::cli::Env;
use tradewind_tests::fleet::{Fleet, free_port};
use tradewind_tests::poll::until;

const LIMIT: Duration = Duration::from_secs(30);

/// A GET over a plain socket; status and body.
fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the page server listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

#[test]
fn the_bundled_etl_succeeds_in_a_fresh_home() {
    let mut fleet = Fleet::new("memory://", "", "");
    fleet.env.vars.clear();
    std::fs::remove_dir(fleet.home().join("dags")).expect("a fresh home has no DAGs folder");
    let port = free_port();
    let mut role = fleet.start(&["standalone", "--port", &port.to_string()]);
    let start = Instant::now();
    fleet.wait_for_dag("example_etl");
    let run = until("example_etl to succeed", LIMIT, || {
        let runs = fleet.env.rows(&["dags", "list-runs", "example_etl"]);
        runs.into_iter().find(|run| run["state"] == "success")
    });
    println!("example_etl succeeded {:.1} s after ready", start.elapsed().as_secs_f64());
    let run_id = run["run_id"].as_str().expect("run id");
    for task in fleet.states("example_etl", run_id) {
        assert_eq!(task["state"], "success", "{task}");
    }
    until("the success in the output", LIMIT, || {
        let output = role.output();
        let line = output.lines().find(|line| line.contains(run_id) && line.contains("success in"));
        line.map(str::to_owned)
    });
    let log = fleet.env.ok(&["tasks", "logs", "example_etl", "load", run_id]);
    assert!(!log.trim().is_empty(), "the log of a task can be read");

    let (status, page) = get(port, "/dags");
    assert_eq!(status, 200);
    assert!(page.contains("example_etl"), "{page}");
    let (status, health) = get(port, "/health");
    let health: Value = serde_json::from_str(&health).expect("JSON");
    assert_eq!((status, &health["metadatabase"]["status"]), (200, &"healthy".into()));
    assert_eq!(health["scheduler"]["status"], "healthy");
    let (_, metrics) = get(port, "/metrics");
    for name in
        ["tradewind_attempts_total", "tradewind_hop_seconds_bucket", "tradewind_queue_depth"]
    {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    fleet.env.ok(&["jobs", "check", "--job-type", "SchedulerJob", "--local"]);
    assert_eq!(role.terminate(), Some(0), "{}", role.log());
    let check = fleet.env.run(&["jobs", "check", "--job-type", "SchedulerJob"]);
    assert_eq!(check.status.code(), Some(1), "nobody is alive after the end");
}

const HELLO: &str = r#"
from datetime import datetime
from airflow.decorators import dag, task

@dag(schedule=None, start_date=datetime(2024, 1, 1))
def hello():
    @task
    def make():
        return {"n": 41}
    @task
    def add(value):
        print("the answer is", value["n"] + 1)
    add(make())
hello()
"#;

#[test]
fn files_come_change_break_and_go_within_a_second() {
    let mut fleet = Fleet::new("memory://", "", "");
    fleet.env.vars.remove("TRADEWIND__DATABASE__URL");
    let port = free_port().to_string();
    let _role = fleet.start(&["standalone", "--port", &port]);
    let dags = |fleet: &Fleet| fleet.env.rows(&["dags", "list"]);

    fleet.dag("hello.py", HELLO);
    let start = Instant::now();
    until("the new file", LIMIT, || {
        dags(&fleet).iter().any(|d| d["dag_id"] == "hello").then_some(())
    });
    println!("a new file was seen after {:.2} s", start.elapsed().as_secs_f64());
    fleet.trigger("hello", "one");
    let runs = fleet.wait_for_runs("hello", 1, LIMIT);
    assert_eq!(runs[0]["state"], "success");
    assert!(fleet.env.ok(&["tasks", "logs", "hello", "add", "one"]).contains("the answer is 42"));

    fleet.dag("hello.py", &HELLO.replace("return {", "return {{"));
    let error = until("the import error", LIMIT, || {
        fleet.env.rows(&["dags", "list-import-errors"]).into_iter().next()
    });
    let text = error["error"].as_str().expect("text");
    assert!(text.starts_with("hello.py:") && text.contains("SyntaxError"), "{text}");
    fleet.trigger("hello", "two");
    let runs = fleet.wait_for_runs("hello", 2, LIMIT);
    assert!(
        runs.iter().all(|run| run["state"] == "success"),
        "the last good version runs: {runs:?}"
    );

    std::fs::remove_file(fleet.home().join("dags/hello.py")).expect("removed");
    until("the DAG to go", LIMIT, || {
        dags(&fleet).iter().all(|d| d["dag_id"] != "hello").then_some(())
    });
}

#[test]
fn a_run_survives_a_kill_of_the_whole_process() {
    let mut fleet = Fleet::new("memory://", "", "");
    fleet.env.vars.remove("TRADEWIND__DATABASE__URL");
    let port = free_port().to_string();
    let ledger = tradewind_tests::ledger::Ledger::new(fleet.home());
    fleet.dag("queued.py", &tradewind_tests::dags::queues(&["default"], 3, "2", &ledger.path()));
    let mut role = fleet.start(&["standalone", "--port", &port]);
    fleet.wait_for_dag("queued");
    fleet.trigger("queued", "q1");
    until("tasks to begin", LIMIT, || (ledger.lines().len() == 3).then_some(()));
    role.kill9();
    let _again = fleet.start(&["standalone", "--port", &port]);
    let runs = fleet.wait_for_runs("queued", 1, LIMIT);
    assert_eq!(runs[0]["state"], "success");
    assert!(ledger.counts("done").values().all(|count| *count == 1));
}

fn test_env(home: &Path) -> Env {
    let mut env = Env::new(home);
    env.set("TRADEWIND__LOGGING__LEVEL", "warn");
    env
}

#[test]
fn dags_test_runs_one_run_and_says_how_it_went() {
    let home = tempfile::tempdir().expect("folder");
    let env = test_env(home.path());
    let file = home.path().join("hello.py");
    std::fs::write(&file, HELLO).expect("file");
    let path = file.display().to_string();
    let output = env.ok(&["dags", "test", "hello", "2024-05-06", "-S", &path]);
    assert!(output.contains("the answer is 42"), "{output}");
    assert!(output.contains("success"), "{output}");

    std::fs::write(&file, HELLO.replace("value[\"n\"] + 1", "1 / 0")).expect("file");
    let output = env.run(&["dags", "test", "hello", "-S", &path]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("ZeroDivisionError") && text.contains("failed"), "{text}");

    std::fs::write(&file, "import nothing_of_that_name\n# airflow dag").expect("file");
    let output = env.run(&["dags", "test", "hello", "-S", &path]);
    assert_ne!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("hello.py:1") && text.contains("nothing_of_that_name"), "{text}");
}

#[test]
fn fleet_roles_refuse_what_cannot_be_shared() {
    let home = tempfile::tempdir().expect("folder");
    let mut env = test_env(home.path());
    for (args, word) in [
        (vec!["scheduler"], "SQLite"),
        (vec!["web"], "SQLite"),
        (vec!["worker"], "in-process broker"),
    ] {
        let output = env.run(&args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(word) && text.contains("tradewind standalone"), "{args:?}: {text}");
    }
    env.set("TRADEWIND__BROKER__URL", "kafka://user:hunter2@host");
    let output = env.run(&["worker"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in ["[broker] url", "TRADEWIND__BROKER__URL", "amqp://…"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

/// A task queue without any service: `[tasks]`, `[beat]`, the monitor's API, remote control.
#[test]
fn fleet_tasks_run_in_one_process() {
    let mut fleet = Fleet::new("memory://", "", "");
    fleet.env.vars.clear();
    fleet.env.set("FLOWER_UNAUTHENTICATED_API", "true");
    let config = "[tasks.greet]\ncommand = ['echo', 'hello {0}']\nqueue = 'letters'\n\
                  [beat.tick]\ntask = 'greet'\nargs = ['beat']\nevery = 1\n\
                  [worker]\nname = 'celery@alone'\n";
    std::fs::write(fleet.home().join("tradewind.toml"), config).expect("configuration");
    let port = free_port();
    let mut role = fleet.start(&["standalone", "--port", &port.to_string()]);
    let post = |path: &str, body: &str| {
        let answer = tradewind_tests::http::post(port, &format!("/flower/api{path}"), body);
        let answer = answer.expect("an answer");
        let value: Value = serde_json::from_str(&answer.body).unwrap_or(answer.body.into());
        (answer.status, value)
    };
    // Known to the monitor once it has asked the worker.
    let done = until("the task to be known, and done", LIMIT, || {
        let (status, value) = post("/task/apply/greet", r#"{"args": ["you"]}"#);
        (status == 200).then_some(value)
    });
    assert_eq!((&done["state"], &done["result"]), (&"SUCCESS".into(), &"hello you".into()));
    let (status, grown) = post("/worker/pool/grow/celery@alone?n=2", "");
    assert_eq!(status, 200, "{grown}");
    until("a task of the beat to be done", LIMIT, || {
        let (_, tasks) = get(port, "/flower/api/tasks?state=SUCCESS");
        tasks.contains("hello beat").then_some(())
    });
    let (_, metrics) = get(port, "/metrics");
    assert!(metrics.contains(r#"flower_worker_online{worker="celery@alone"} 1"#), "{metrics}");
    assert_eq!(role.terminate(), Some(0), "{}", role.log());
}
