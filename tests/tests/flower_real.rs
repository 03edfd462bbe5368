//! The real Flower 2.2 on a broker with a Rust and a Celery worker: it shows both alike.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tradewind_services::{Redis, RedisOptions};
use tradewind_tests::celery::{Setting, Version};
use tradewind_tests::fleet::free_port;
use tradewind_tests::poll::until;

const LIMIT: Duration = Duration::from_secs(90);
const RUST: &str = "celery@rust";
const PYTHON: &str = "celery@python";

fn get(port: u16, path: &str) -> Option<Value> {
    let answer = tradewind_tests::http::get(port, path)?;
    (answer.status == 200).then(|| serde_json::from_str(&answer.body).ok())?
}

/// What Flower knows of a task, without what differs from run to run.
fn stable(task: &Value) -> Value {
    let names = ["name", "args", "kwargs", "state", "result", "exception", "retries", "root_id"];
    let mut stable: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), task[*name].clone())).collect();
    if task["state"] != "FAILURE" {
        // Why it was retried: Celery says nothing, ours does.
        stable["exception"] = Value::Null;
    }
    // The root of a single task is itself.
    stable["root_id"] = json!(task["root_id"] == task["uuid"]);
    // Times are there, and in order.
    let at = |name: &str| task[name].as_f64();
    stable.insert("received".to_owned(), json!(at("received").is_some()));
    stable.insert("started".to_owned(), json!(at("started") >= at("received")));
    let ended = at("succeeded").or_else(|| at("failed"));
    stable.insert("ended".to_owned(), json!(ended >= at("started")));
    stable.insert("runtime".to_owned(), json!(at("runtime").is_some_and(|time| time >= 0.0)));
    stable.into()
}

/// Members that Celery's worker has and ours lacks, or has as another kind of value.
fn lacking(theirs: &Value, ours: &Value) -> Vec<String> {
    let kind = |value: &Value| match value {
        Value::Object(_) => "object",
        Value::Array(_) => "list",
        Value::String(_) => "text",
        Value::Number(_) => "number",
        Value::Bool(_) => "flag",
        Value::Null => "nothing",
    };
    let theirs = theirs.as_object().expect("an object").iter();
    let differ = theirs
        .filter(|(name, value)| !value.is_null() && kind(&ours[name.as_str()]) != kind(value));
    differ.map(|(name, value)| format!("{name}: {value} but {}", ours[name.as_str()])).collect()
}

#[test]
fn flower_shows_our_worker_as_it_shows_celerys() {
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    let rust = Setting::new(redis.url(), redis.url());
    let python = Setting::new(redis.url(), redis.url());
    let port = free_port();
    let _flower = rust.flower(Version::V5_7, port);
    let _rust = rust.rust_worker(RUST, &[]);
    let _python = python.python_worker(Version::V5_7, PYTHON, &[]);
    until("Flower to answer", LIMIT, || get(port, "/api/workers?status=true"));
    until("both workers to be online", LIMIT, || {
        let status = get(port, "/api/workers?status=true")?;
        (status[RUST] == true && status[PYTHON] == true).then_some(())
    });

    let send = |setting: &Setting| {
        setting.script(Version::V5_7, "celery@any", "send_some.py", &[])["ids"].clone()
    };
    let (ours, theirs) = (send(&rust), send(&python));
    let pairs = ours.as_object().expect("ids by name");
    assert_eq!(pairs.len(), 4, "add, kwargs, fail, retry_once");
    for (name, id) in pairs {
        let find = |id: &Value| {
            let path = format!("/api/task/info/{}", id.as_str().expect("an id"));
            until(&format!("{name} to end in Flower"), LIMIT, || {
                let task = get(port, &path)?;
                let ended = ["SUCCESS", "FAILURE"].iter().any(|state| task["state"] == *state);
                (ended && !task["started"].is_null()).then_some(task)
            })
        };
        let (ours, theirs) = (find(id), find(&theirs[name]));
        assert_eq!(stable(&ours), stable(&theirs), "{name}");
        assert_eq!(ours["worker"], RUST, "{name}");
    }
    let pairs_theirs = theirs.as_object().expect("ids by name");

    let listed = get(port, &format!("/api/tasks?workername={RUST}")).expect("a list");
    assert_eq!(listed.as_object().expect("tasks by id").len(), pairs.len(), "{listed}");
    let workers = until("both workers' details", LIMIT, || {
        let workers = get(port, "/api/workers?refresh=true")?;
        let complete = |node: &str| workers[node]["stats"].is_object();
        (complete(RUST) && complete(PYTHON)).then_some(workers)
    });
    let (ours, theirs) = (&workers[RUST], &workers[PYTHON]);
    assert_eq!(lacking(theirs, ours), [""; 0]);
    assert_eq!(lacking(&theirs["stats"], &ours["stats"]), [""; 0]);
    let (ours, theirs) = (&ours["active_queues"][0], &theirs["active_queues"][0]);
    assert_eq!(lacking(theirs, ours), [""; 0]);

    let metrics = tradewind_tests::http::get(port, "/metrics").expect("metrics").body;
    for line in [
        format!("flower_worker_online{{worker=\"{RUST}\"}} 1.0"),
        format!(
            "flower_events_total{{task=\"fleet.add\",type=\"task-succeeded\",worker=\"{RUST}\"}} 1.0"
        ),
    ] {
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
    pages_are_alike(port, pairs, pairs_theirs);
}

/// Flower's pages of our worker and its tasks have what those of Celery's have.
fn pages_are_alike(port: u16, pairs: &Map<String, Value>, pairs_theirs: &Map<String, Value>) {
    for page in ["/workers", "/tasks"] {
        let text = page_of(port, page);
        assert!(text.contains("Flower"), "{page}: {text}");
    }
    let (ours, theirs) =
        [RUST, PYTHON].map(|node| page_of(port, &format!("/worker/{node}"))).into();
    for tab in ["pool", "broker", "queues", "tasks", "limits", "system"] {
        let (ours, theirs) = (tab_of(&ours, tab), tab_of(&theirs, tab));
        assert_eq!(between(ours, "<th>", "</th>"), between(theirs, "<th>", "</th>"), "{tab}");
        let (ours, theirs) = (labels(ours), labels(theirs));
        // Tasks and queues have each worker's own names.
        // `Writes` counts what goes through the pipes of a prefork pool.
        let lacks: Vec<_> = theirs.difference(&ours).filter(|label| *label != "Writes").collect();
        assert!(
            ["queues", "tasks", "limits"].contains(&tab) || lacks.is_empty(),
            "{tab}: {lacks:?}"
        );
        assert!(!ours.is_empty(), "{tab} is empty");
    }
    for (name, id) in pairs {
        let fields = |id: &Value| {
            let page = page_of(port, &format!("/task/{}", id.as_str().expect("an id")));
            let mut fields = between(&page, "<dt>", "</dt>");
            // Why it was retried: ours says so. Celery makes a retried task its own parent.
            let differs = |field: &str| field.contains("xception") || field.starts_with("Parent");
            fields.retain(|field| name != "retry_once" || !differs(field));
            fields
        };
        let (ours, theirs) = (fields(id), fields(&pairs_theirs[name]));
        assert_eq!(ours, theirs, "{name}");
        assert!(ours.len() > 8, "{ours:?}");
    }
}

fn page_of(port: u16, path: &str) -> String {
    let answer = tradewind_tests::http::get(port, path).expect("an answer");
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body
}

/// A tab of a worker's page.
fn tab_of<'a>(page: &'a str, tab: &str) -> &'a str {
    let begin =
        page.find(&format!("id=\"tab-{tab}\"")).unwrap_or_else(|| panic!("no {tab} in {page}"));
    let rest = &page[begin + 1..];
    &rest[..rest.find("id=\"tab-").unwrap_or(rest.len())]
}

/// What stands between two marks, each time.
fn between(text: &str, open: &str, close: &str) -> BTreeSet<String> {
    let parts = text.split(open).skip(1);
    parts
        .filter_map(|part| part.split_once(close))
        .map(|(inner, _)| inner.trim().to_owned())
        .collect()
}

/// The first cell of each row.
fn labels(text: &str) -> BTreeSet<String> {
    let rows = text.split("<tr>").skip(1);
    rows.filter_map(|row| between_first(row, "<td>", "</td>")).collect()
}

fn between_first(text: &str, open: &str, close: &str) -> Option<String> {
    let (_, rest) = text.split_once(open)?;
    Some(rest.split_once(close)?.0.trim().to_owned())
}
