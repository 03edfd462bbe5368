//! One trace from a run to the processes of its tasks, and what the roles log meanwhile.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use tradewind_services::{Postgres, Redis, RedisOptions};
use tradewind_tests::collector::{Collector, Span};
use tradewind_tests::fleet::{Fleet, Role, free_port};
use tradewind_tests::poll::until;

const LIMIT: Duration = Duration::from_secs(60);
const TASKS: [&str; 3] = ["shell", "again", "snake"];
/// Enough for two schedulers to want the same run at the same time.
const FLEET_RUNS: usize = 6;

const TRACED: &str = r#"
from datetime import datetime
import os
from airflow import DAG
from airflow.operators.bash import BashOperator
from airflow.operators.python import PythonOperator

def show():
    print("trace=[" + os.environ.get("TRACEPARENT", "") + "]")

with DAG("traced", schedule=None, start_date=datetime(2024, 1, 1), max_active_runs=16):
    command = 'echo "trace=[$TRACEPARENT]"'
    shell = BashOperator(task_id="shell", bash_command=command)
    again = BashOperator(task_id="again", bash_command=command)
    shell >> again >> PythonOperator(task_id="snake", python_callable=show)

with DAG("daily", schedule="@daily", start_date=datetime(2024, 1, 1), catchup=False):
    BashOperator(task_id="shell", bash_command=command)
"#;

#[test]
fn a_run_is_one_trace_in_one_process() {
    let collector = Collector::start();
    let mut fleet = standalone_fleet();
    fleet.env.set("TRADEWIND__TELEMETRY__OTLP_ENDPOINT", collector.endpoint());
    let mut role = start_standalone(&mut fleet);
    fleet.wait_for_dag("traced");
    fleet.trigger("traced", "r1");
    let scheduled = fleet.wait_for_runs("daily", 1, LIMIT);
    fleet.wait_for_runs("traced", 1, LIMIT);
    assert_eq!(role.terminate(), Some(0), "{}", role.log());

    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.service == "tradewind-standalone"), "{spans:#?}");
    let names: BTreeSet<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["dag_run", "dispatch", "task.run"]), "{spans:#?}");
    let by_hand = check_trace(&fleet, &spans, "traced", "r1", &TASKS);
    let run_id = scheduled[0]["run_id"].as_str().expect("run id");
    let by_schedule = check_trace(&fleet, &spans, "daily", run_id, &["shell"]);
    assert_ne!(by_hand, by_schedule, "every run has a trace of its own");
    check_attempt_lines(&check_lines(&role), 4);
}

#[test]
fn a_run_is_one_trace_across_processes() {
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    let postgres = Postgres::start().expect("PostgreSQL starts");
    let collector = Collector::start();
    let mut fleet = Fleet::new(redis.url(), postgres.url(), postgres.url());
    fleet.env.set("TRADEWIND__TELEMETRY__OTLP_ENDPOINT", collector.endpoint());
    fleet.dag("traced.py", TRACED);
    fleet.env.ok(&["db", "migrate"]);
    let mut roles = [
        fleet.start_web(),
        fleet.start(&["scheduler"]),
        fleet.start(&["scheduler"]),
        fleet.start(&["worker", "-c", "4", "-n", "one@host"]),
    ];
    fleet.wait_for_dag("traced");
    let ids: Vec<String> = (0..FLEET_RUNS).map(|number| format!("r{number}")).collect();
    for id in &ids {
        fleet.trigger("traced", id);
    }
    let scheduled = fleet.wait_for_runs("daily", 1, LIMIT);
    fleet.wait_for_runs("traced", FLEET_RUNS, LIMIT);
    for role in roles.iter_mut().rev() {
        assert_eq!(role.terminate(), Some(0), "{}", role.log());
    }

    let spans = collector.spans();
    for span in &spans {
        let by = if span.name == "task.run" { "tradewind-worker" } else { "tradewind-scheduler" };
        assert_eq!(span.service, by, "{span:?}");
    }
    let mut traces = BTreeSet::new();
    for id in &ids {
        traces.insert(check_trace(&fleet, &spans, "traced", id, &TASKS));
    }
    let run_id = scheduled[0]["run_id"].as_str().expect("run id");
    traces.insert(check_trace(&fleet, &spans, "daily", run_id, &["shell"]));
    assert_eq!(traces.len(), FLEET_RUNS + 1, "every run has a trace of its own");
    let seen: BTreeSet<String> = spans.iter().map(|span| span.trace_id.clone()).collect();
    assert_eq!(seen, traces, "a scheduler that loses a run leaves no trace of its own");
    let lines: Vec<Value> = roles.iter().flat_map(check_lines).collect();
    check_attempt_lines(&lines, FLEET_RUNS * TASKS.len() + 1);
}

#[test]
fn without_an_endpoint_there_is_no_trace() {
    let mut fleet = standalone_fleet();
    let mut role = start_standalone(&mut fleet);
    fleet.wait_for_dag("traced");
    fleet.trigger("traced", "r1");
    let runs = fleet.wait_for_runs("traced", 1, LIMIT);
    assert_eq!(runs[0]["state"], "success");
    for task in TASKS {
        assert_eq!(printed(&fleet, "traced", task, "r1"), "");
    }
    assert_eq!(role.terminate(), Some(0), "{}", role.log());
    check_lines(&role);
}

#[test]
fn a_collector_that_is_away_costs_one_warning() {
    let mut fleet = standalone_fleet();
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    fleet.env.set("TRADEWIND__TELEMETRY__OTLP_ENDPOINT", endpoint);
    // Several batches fail while the run lasts.
    fleet.env.set("OTEL_BSP_SCHEDULE_DELAY", "100");
    let mut role = start_standalone(&mut fleet);
    fleet.wait_for_dag("traced");
    for (count, id) in ["r1", "r2"].into_iter().enumerate() {
        fleet.trigger("traced", id);
        let runs = fleet.wait_for_runs("traced", count + 1, LIMIT);
        assert!(runs.iter().all(|run| run["state"] == "success"), "{runs:?}");
        until("the warning", LIMIT, || warned(&role).then_some(()));
    }
    assert!(!printed(&fleet, "traced", "snake", "r1").is_empty(), "ids are passed on all the same");
    assert_eq!(role.terminate(), Some(0), "{}", role.log());
    let lines = check_lines(&role);
    let warnings: Vec<&Value> = lines.iter().filter(|line| line["level"] != "INFO").collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert_eq!(warnings[0]["level"], "WARN");
    let why = warnings[0]["why"].as_str().expect("a reason");
    assert!(why.contains("Connection refused"), "{why}");
}

fn warned(role: &Role) -> bool {
    role.log().contains("traces cannot be sent")
}

fn standalone_fleet() -> Fleet {
    let mut fleet = Fleet::new("memory://", "", "");
    fleet.env.vars.remove("TRADEWIND__DATABASE__URL");
    fleet.dag("traced.py", TRACED);
    fleet
}

fn start_standalone(fleet: &mut Fleet) -> Role {
    fleet.start(&["standalone", "--port", &free_port().to_string()])
}

/// The spans of a run form one tree, down to what its processes were given. Its trace id.
fn check_trace(fleet: &Fleet, all: &[Span], dag: &str, run: &str, tasks: &[&str]) -> String {
    let of_run = |span: &&Span| span.has("dag_id", dag) && span.has("run_id", run);
    let spans: Vec<&Span> = all.iter().filter(of_run).collect();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let roots = named("dag_run");
    assert_eq!(roots.len(), 1, "one root of {run}: {spans:#?}");
    let root = roots[0];
    assert_eq!(root.parent, "", "{root:?}");
    assert_eq!(spans.len(), named("task.run").len() + named("dispatch").len() + 1);
    for span in &spans {
        assert_eq!(span.trace_id, root.trace_id, "{span:?}");
    }
    for task in tasks {
        let runs = named("task.run").into_iter().filter(|span| span.has("task_id", task));
        let [ran] = runs.collect::<Vec<_>>()[..] else {
            panic!("{task} of {run} has one span: {spans:#?}")
        };
        let dispatches = named("dispatch").into_iter().filter(|span| span.has("task_id", task));
        let dispatches: Vec<_> = dispatches.collect();
        assert!(dispatches.iter().all(|span| span.parent == root.span_id), "{dispatches:?}");
        assert!(dispatches.iter().any(|span| span.span_id == ran.parent), "{ran:?}");
        let given = format!("00-{}-{}-01", root.trace_id, ran.span_id);
        assert_eq!(printed(fleet, dag, task, run), given, "TRACEPARENT of {task}");
    }
    assert_eq!(named("task.run").len(), tasks.len());
    root.trace_id.clone()
}

/// What a task printed as its `TRACEPARENT`.
fn printed(fleet: &Fleet, dag: &str, task: &str, run: &str) -> String {
    let log = fleet.env.ok(&["tasks", "logs", dag, task, run]);
    // The last one: the log names the command too.
    let found = log.rsplit_once("trace=[").and_then(|(_, rest)| rest.split_once(']'));
    found.unwrap_or_else(|| panic!("{task} printed no trace:\n{log}")).0.to_owned()
}

/// Names of a JSON object, in order and with repetitions.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Names;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, _)) = map.next_entry::<String, Value>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Every line of a role is one JSON object that names nothing twice.
fn check_lines(role: &Role) -> Vec<Value> {
    let log = role.log();
    assert!(!log.is_empty());
    let parse = |line: &str| {
        let wrong = |error| panic!("not JSON: {error}\n{line}");
        let Names(names) = serde_json::from_str(line).unwrap_or_else(wrong);
        let once: BTreeSet<&String> = names.iter().collect();
        assert_eq!(once.len(), names.len(), "a name comes twice: {line}");
        for name in ["timestamp", "level", "target", "message"] {
            assert!(once.contains(&name.to_owned()), "{name} is missing: {line}");
        }
        assert!(!once.contains(&"spans".to_owned()), "the span is in the line already: {line}");
        serde_json::from_str(line).expect("parsed before")
    };
    log.lines().map(parse).collect()
}

/// The end of each attempt says whose it was.
fn check_attempt_lines(lines: &[Value], count: usize) {
    let ended = lines.iter().filter(|line| line["message"] == "attempt ended");
    let ended: Vec<&Value> = ended.collect();
    assert_eq!(ended.len(), count);
    for line in ended {
        for name in ["dag_id", "run_id", "task_id", "attempt_id"] {
            assert!(line["span"][name].is_string(), "{name} is missing: {line}");
        }
        assert_eq!(line["span"]["try_number"], 1, "{line}");
        assert_eq!(line["state"], "success", "{line}");
    }
}
