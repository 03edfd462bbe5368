//! A real Prometheus with the configuration of `compose/` on a running fleet: it finds every role, holds
//! the metrics, answers the boards, and its alerts fire.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tradewind_services::{Postgres, Redis, RedisOptions, unique};
use tradewind_tests::fleet::{Fleet, Role, free_port};
use tradewind_tests::http;
use tradewind_tests::poll::until;

const LIMIT: Duration = Duration::from_secs(60);
/// What the monitor shows once tasks have succeeded, failed, been retried and been revoked: Flower's six,
/// celery-exporter's, ours.
const MONITORED: &[&str] = &[
    "flower_events_total",
    "flower_task_runtime_seconds_bucket",
    "flower_task_prefetch_time_seconds",
    "flower_worker_prefetched_tasks",
    "flower_worker_online",
    "flower_worker_number_of_currently_executing_tasks",
    "celery_task_received_total",
    "celery_task_started_total",
    "celery_task_succeeded_total",
    "celery_task_failed_total",
    "celery_task_retried_total",
    "celery_task_revoked_total",
    "celery_task_runtime_bucket",
    "celery_worker_up",
    "celery_worker_tasks_active",
    "celery_queue_length",
    "celery_active_consumer_count",
    "celery_active_worker_count",
    "celery_active_process_count",
    "tradewind_queue_depth",
    "tradewind_dead_letter_depth",
    "tradewind_fleet_tasks_total",
    "tradewind_fleet_task_failures_total",
    "tradewind_fleet_task_retries_total",
    "tradewind_fleet_task_run_seconds_bucket",
    "tradewind_fleet_pool_slots",
    "tradewind_fleet_pool_saturation",
    "tradewind_fleet_workers_online",
];

/// The committed folder, changed in two ways: targets are on this machine, and time runs faster.
fn configure(folder: &Path, ports: &[(&str, u16)]) {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("root").join("compose");
    let read = |name: &str| fs::read_to_string(committed.join(name)).expect("committed");
    let config = read("prometheus.yml").replace("_interval: 10s", "_interval: 1s");
    let (mut config, jobs) = {
        let (head, jobs) = config.split_once("scrape_configs:\n").expect("jobs");
        (format!("{head}scrape_configs:\n"), jobs.to_owned())
    };
    let names = jobs.lines().filter_map(|line| line.trim().strip_prefix("- job_name: tradewind-"));
    let names: Vec<&str> = names.collect();
    assert_eq!(names, ports.iter().map(|(role, _)| *role).collect::<Vec<_>>());
    for (role, port) in ports {
        let target = format!("static_configs: [{{targets: [\"127.0.0.1:{port}\"]}}]");
        config.push_str(&format!("  - job_name: tradewind-{role}\n    {target}\n"));
    }
    fs::write(folder.join("prometheus.yml"), config).expect("written");
    for name in ["alerts.yml", "alerts_fleet.yml"] {
        let quick = read(name).lines().map(quicker).collect::<Vec<_>>().join("\n");
        fs::write(folder.join(name), quick).expect("written");
    }
}

/// Nobody waits for minutes here until an alert fires.
fn quicker(line: &str) -> &str {
    if line.trim_start().starts_with("for: ") { "        for: 1s" } else { line }
}

struct Prometheus {
    port: u16,
    _role: Role,
}

impl Prometheus {
    fn start(folder: &Path, ports: &[(&str, u16)]) -> Self {
        configure(folder, ports);
        let port = free_port();
        let mut command = Command::new("prometheus");
        command.current_dir(folder).args(["--config.file=prometheus.yml", "--log.level=warn"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        let role = Role::launch("prometheus", command, folder);
        let prometheus = Self { port, _role: role };
        until("Prometheus to be ready", LIMIT, || {
            http::get(port, "/-/ready").filter(|answer| answer.status == 200)
        });
        prometheus
    }

    /// The `data` of an answer of its API.
    fn get(&self, path: &str) -> Value {
        let answer = http::get(self.port, &format!("/api/v1/{path}")).expect("an answer");
        let value: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(value["status"], "success", "{path}: {value}");
        value["data"].clone()
    }

    fn query(&self, expression: &str) -> Vec<Value> {
        let mut encoded = String::new();
        for byte in expression.bytes() {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        self.get(&format!("query?query={encoded}"))["result"].as_array().expect("rows").clone()
    }

    /// Names of the alerts that fire, with a value of theirs.
    fn firing(&self, alert: &str, value: &str) -> bool {
        let alerts = self.get("alerts");
        let mut alerts = alerts["alerts"].as_array().expect("alerts").iter();
        alerts.any(|one| {
            let labels = one["labels"].as_object().expect("labels");
            one["state"] == "firing"
                && labels["alertname"] == alert
                && labels.values().any(|label| label == value)
        })
    }
}

fn names_of(value: &Value) -> BTreeSet<&str> {
    value.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

#[test]
fn a_real_prometheus_watches_a_fleet() {
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    let postgres = Postgres::start().expect("PostgreSQL starts");
    let mut fleet = Fleet::new(redis.url(), "", postgres.url());
    let queue = unique("watched");
    let node = format!("celery@{queue}");
    let config = format!(
        "[flower]\nrefresh = 1\n[tasks.'watched.fails']\ncommand = ['false']\nqueue = '{queue}'\n\
         retries = 1\nretry_delay = 0.1\n"
    );
    fs::write(fleet.home().join("tradewind.toml"), config).expect("configuration");
    let [flower, scheduler, ops] = [(); 3].map(|()| free_port());
    fleet.env.set("TRADEWIND__WEB__FLOWER", "false");
    fleet.env.set("TRADEWIND__SCHEDULER__OPS_PORT", scheduler.to_string());
    fleet.env.set("TRADEWIND__WORKER__OPS_PORT", ops.to_string());
    fleet.env.ok(&["db", "migrate"]);
    let _web = fleet.start_web();
    let url = fleet.env.vars["TRADEWIND__EXECUTION__API_URL"].clone();
    let web = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("its port");
    let _scheduler = fleet.start(&["scheduler"]);
    let _flower = fleet.start(&["flower", "--port", &flower.to_string()]);
    let mut worker = fleet.start(&["worker", "-Q", &queue, "-n", &node, "-E"]);
    let ports = [("web", web), ("flower", flower), ("scheduler", scheduler), ("worker", ops)];
    let prometheus = Prometheus::start(fleet.home(), &ports);

    let send = |task: &str, more: &[&str]| {
        fleet.env.run(&[&["task", "send", task, "-q", &queue, "--wait"], more].concat());
    };
    fleet.env.ok(&["task", "revoke", "never", "-t", "0.1"]);
    send("tradewind.noop", &[]);
    send("watched.fails", &[]);
    send("tradewind.noop", &["--id", "never"]);

    all_targets_are_up(&prometheus);
    until("every metric of the monitor", LIMIT, || {
        let names = prometheus.get("label/__name__/values");
        let known = names_of(&names);
        let missing: Vec<_> = MONITORED.iter().filter(|name| !known.contains(*name)).collect();
        missing.is_empty().then_some(())
    });
    rules_are_loaded(&prometheus);
    boards_are_answered(&prometheus);

    // A worker goes, and what is sent now waits for nobody.
    assert_eq!(worker.terminate(), Some(0), "{}", worker.log());
    fleet.env.ok(&["task", "send", "tradewind.noop", "-q", &queue]);
    until("the alert of the worker", LIMIT, || {
        prometheus.firing("TradewindFleetWorkerDown", &node).then_some(())
    });
    until("the alert of the queue", LIMIT, || {
        prometheus.firing("TradewindFleetQueueNotServed", &queue).then_some(())
    });
    assert!(!prometheus.firing("TradewindFleetMonitorDown", "tradewind-flower"));
}

fn all_targets_are_up(prometheus: &Prometheus) {
    until("all targets to be up", LIMIT, || {
        let targets = prometheus.get("targets");
        let targets = targets["activeTargets"].as_array().expect("targets");
        let up = targets.iter().filter(|target| target["health"] == "up");
        let jobs: BTreeSet<_> = up.filter_map(|target| target["labels"]["job"].as_str()).collect();
        let wanted =
            ["tradewind-web", "tradewind-flower", "tradewind-scheduler", "tradewind-worker"];
        (jobs == BTreeSet::from(wanted)).then_some(())
    });
}

fn rules_are_loaded(prometheus: &Prometheus) {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("root").join("compose");
    let mut wanted = BTreeSet::new();
    for name in ["alerts.yml", "alerts_fleet.yml"] {
        let text = fs::read_to_string(committed.join(name)).expect("committed");
        let alerts = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
        wanted.extend(alerts.map(str::to_owned));
    }
    let rules = until("the rules to be looked at", LIMIT, || {
        let groups = prometheus.get("rules");
        let groups = groups["groups"].as_array().expect("groups").iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules").clone());
        let rules: Vec<Value> = rules.collect();
        rules.iter().all(|rule| rule["health"] == "ok").then_some(rules)
    });
    let loaded = rules.iter().map(|rule| rule["name"].as_str().expect("a name").to_owned());
    assert_eq!(loaded.collect::<BTreeSet<_>>(), wanted);
}

/// Queries of a board that are answered with nothing.
fn without_data(prometheus: &Prometheus, board: &Value) -> Vec<String> {
    let panels = board["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let queries = targets.map(|target| target["expr"].as_str().expect("a query"));
    queries
        .filter(|query| prometheus.query(&query.replace("$__rate_interval", "1m")).is_empty())
        .map(str::to_owned)
        .collect()
}

/// Each panel's query is one that Prometheus answers, and the panels of the fleet are not empty.
fn boards_are_answered(prometheus: &Prometheus) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("root");
    for (board, empty_max) in [("fleet", 8), ("tradewind", 16)] {
        let path = root.join(format!("compose/grafana/boards/{board}.json"));
        let board: Value =
            serde_json::from_str(&fs::read_to_string(path).expect("committed")).expect("JSON");
        // Rates need two scrapes of what they count.
        until(&format!("at most {empty_max} panels without data"), LIMIT, || {
            let empty = without_data(prometheus, &board);
            println!("without data: {empty:#?}");
            (empty.len() <= empty_max).then_some(())
        });
    }
}
