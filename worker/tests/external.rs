//! External tasks for real: commands, a local HTTP server, Python callables, and what is left of them when
//! their call is dropped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tradewind_proto::celery::wide;
use tradewind_proto::clock::SystemIds;
use tradewind_worker::external::{Call, ExternalEnv, ExternalOptions, ExternalTasks};
use tradewind_worker::fleet::{TaskError, Tasks};

/// Generous: CI machines are busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn python_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace").join("python")
}

fn tasks(table: Value) -> ExternalTasks {
    let table: BTreeMap<String, ExternalOptions> = serde_json::from_value(table).expect("options");
    let env = ExternalEnv {
        ids: Arc::new(SystemIds),
        python: PathBuf::from("python3"),
        python_path: Some(python_folder()),
        guard: false,
        guard_program: None,
    };
    ExternalTasks::new(table, &env).expect("a valid table")
}

fn call(task: &str, args: Value, kwargs: Value) -> Call {
    let args = args.as_array().expect("array").clone();
    let kwargs = kwargs.as_object().expect("object").clone();
    Call { id: "id-1".to_owned(), task: task.to_owned(), args, kwargs, ..Call::default() }
}

async fn run(tasks: &ExternalTasks, one: Call) -> Result<Value, TaskError> {
    tokio::time::timeout(PATIENCE, tasks.call(&one)).await.expect("ends in time")
}

async fn failure(tasks: &ExternalTasks, one: Call) -> (String, String) {
    match run(tasks, one).await.expect_err("fails") {
        TaskError::Fail(failure) => (failure.exc_type.clone(), failure.message()),
        other => panic!("{other:?}"),
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim().starts_with('Z'))
    })
}

fn pids(file: &Path) -> Vec<i32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[tokio::test]
async fn a_command_gets_its_arguments_and_its_last_line_is_the_result() {
    let folder = tempfile::tempdir().expect("folder");
    let tasks = tasks(json!({
        "argv": {"command": ["printf", "log\n[\"%s\", \"%s\"]\n", "{0}", "{name}"]},
        "stdin": {"command": ["cat"]},
        "text": {"command": ["sh", "-c", "echo hello; echo; echo $COLOUR $TRADEWIND_TASK_ID; pwd 1>&2"],
                 "env": {"COLOUR": "red"}, "cwd": folder.path()},
        "silent": {"command": ["true"]},
        "bad": {"command": ["sh", "-c", "echo out; echo broken disk 1>&2; exit 3"]},
        "shot": {"command": ["sh", "-c", "kill -9 $$"]},
        "none": {"command": ["/no/such/program"]},
    }));
    let args = json!(["a; echo $HOME"]);
    let result = run(&tasks, call("argv", args, json!({"name": "x y"}))).await;
    assert_eq!(result, Ok(json!(["a; echo $HOME", "x y"])));
    let result = run(&tasks, call("stdin", json!([1]), json!({"k": null}))).await;
    let seen =
        json!({"id": "id-1", "task": "stdin", "args": [1], "kwargs": {"k": null}, "retries": 0});
    assert_eq!(result, Ok(seen));
    assert_eq!(run(&tasks, call("text", json!([]), json!({}))).await, Ok(json!("red id-1")));
    assert_eq!(run(&tasks, call("silent", json!([]), json!({}))).await, Ok(Value::Null));
    let (kind, text) = failure(&tasks, call("bad", json!([]), json!({}))).await;
    assert_eq!((kind.as_str(), text.as_str()), ("CommandFailed", "exit code 3: broken disk"));
    let (_, text) = failure(&tasks, call("shot", json!([]), json!({}))).await;
    assert!(text.contains("SIGKILL"), "{text}");
    let (kind, text) = failure(&tasks, call("none", json!([]), json!({}))).await;
    assert!(kind == "CommandNotStarted" && text.contains("/no/such/program"), "{kind}: {text}");
    let (kind, text) = failure(&tasks, call("argv", json!([]), json!({}))).await;
    assert!(kind == "TypeError" && text.starts_with("argv() takes"), "{kind}: {text}");
}

/// Python's whole numbers have no bounds.
#[tokio::test]
async fn numbers_of_any_size_pass_through() {
    let tasks = tasks(json!({
        "print": {"command": ["echo", "{0}"]}, "read": {"command": ["cat"]},
        "negate": {"python": "operator:neg"},
    }));
    let value = |text: &str| wide::from_slice(text.as_bytes()).expect("JSON");
    let given = value("[1180591620717411303424]");
    let one = |task| run(&tasks, call(task, given.clone(), json!({})));
    assert_eq!(one("print").await, Ok(given[0].clone()));
    assert_eq!(one("read").await.expect("a call")["args"], given);
    assert_eq!(one("negate").await, Ok(value("-1180591620717411303424")));
    tasks.close().await;
}

#[tokio::test]
async fn a_dropped_command_leaves_no_process_behind() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("pids");
    // A child in the group, and a daemon that left group and session.
    let script = "sleep 600 & echo $! >> $0; setsid sleep 600 & echo $! >> $0; echo $$ >> $0; wait";
    let tasks = tasks(json!({"t": {"command": ["sh", "-c", script, "{0}"]}}));
    let one = call("t", json!([file]), json!({}));
    let running = tokio::spawn({
        let tasks = tasks.clone();
        async move { tasks.call(&one).await }
    });
    until("three processes", || pids(&file).len() == 3).await;
    assert!(pids(&file).iter().all(|pid| is_alive(*pid)));
    running.abort();
    until("all are gone", || !pids(&file).iter().any(|pid| is_alive(*pid))).await;
}

#[tokio::test]
async fn the_soft_limit_asks_a_command_first() {
    let folder = tempfile::tempdir().expect("folder");
    let ready = folder.path().join("ready");
    let tasks = tasks(json!({
        "clean": {"command": ["sh", "-c", "trap 'echo \"\\\"cleaned\\\"\"; exit 0' TERM; touch $0; while :; do sleep 0.05; done", "{0}"]},
        "plain": {"command": ["sh", "-c", "touch $0; exec sleep 600", "{0}"]},
    }));
    for (task, clean) in [("clean", true), ("plain", false)] {
        let _absent = fs::remove_file(&ready);
        let one = call(task, json!([ready]), json!({}));
        let stop = one.soft_stop.clone();
        let (outcome, ()) = tokio::join!(run(&tasks, one), async {
            until("it runs", || ready.exists()).await;
            stop.cancel();
        });
        match outcome {
            Ok(value) => assert_eq!((value, clean), (json!("cleaned"), true)),
            Err(TaskError::Fail(failure)) => {
                assert_eq!((failure.exc_type.as_str(), clean), ("SoftTimeLimitExceeded", false));
            }
            other => panic!("{other:?}"),
        }
    }
}

const MODULE: &str = r#"
import asyncio, datetime, os, subprocess, sys, time

class Odd(Exception):
    pass

def add(a, b=0):
    print("noise on stdout")
    return a + b

async def later(value):
    await asyncio.sleep(0)
    return {"later": value}

def fail(text):
    raise Odd(text, object)

def pid():
    return os.getpid()

def when():
    return datetime.date(2026, 1, 2)

def unwritable():
    return object()

def die():
    sys.stderr.write("out of luck\n")
    sys.stderr.flush()
    os._exit(7)

def nap(ready):
    from_call = subprocess.Popen(["sleep", "600"])
    with open(ready, "w") as file:
        file.write(f"{os.getpid()} {from_call.pid}\n")
    try:
        time.sleep(600)
    except Exception as exc:
        return type(exc).__name__

class Retry(Exception):
    when = 2.5
    exc = ValueError("busy")

Retry.__module__ = "celery.exceptions"

def again():
    raise Retry()

def ignored():
    raise type("Ignore", (Exception,), {"__module__": "celery.exceptions"})()

class space:
    def inner():
        return "inner"
"#;

fn python(folder: &Path, extra: &Value) -> ExternalTasks {
    fs::write(folder.join("mine.py"), MODULE).expect("module");
    let mut table = serde_json::Map::new();
    for name in [
        "add",
        "later",
        "fail",
        "pid",
        "when",
        "unwritable",
        "die",
        "nap",
        "again",
        "ignored",
        "space.inner",
        "absent",
    ] {
        let mut options = json!({"python": format!("mine:{name}"), "cwd": folder});
        options.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
        table.insert(name.to_owned(), options);
    }
    tasks(Value::Object(table))
}

#[tokio::test]
async fn a_python_callable_returns_and_raises_as_in_celery() {
    let folder = tempfile::tempdir().expect("folder");
    let tasks = python(folder.path(), &json!({}));
    assert_eq!(run(&tasks, call("add", json!([2]), json!({"b": 3}))).await, Ok(json!(5)));
    assert_eq!(
        run(&tasks, call("later", json!(["x"]), json!({}))).await,
        Ok(json!({"later": "x"}))
    );
    assert_eq!(run(&tasks, call("space.inner", json!([]), json!({}))).await, Ok(json!("inner")));
    let date = json!({"__type__": "date", "__value__": "2026-01-02"});
    assert_eq!(run(&tasks, call("when", json!([]), json!({}))).await, Ok(date));
    let Err(TaskError::Fail(raised)) = run(&tasks, call("fail", json!(["no"]), json!({}))).await
    else {
        panic!("fails")
    };
    assert_eq!((raised.exc_type.as_str(), raised.module.as_str()), ("Odd", "mine"));
    assert_eq!(raised.args, [json!("no"), json!("<class 'object'>")]);
    assert!(raised.traceback.contains("mine.py"), "{}", raised.traceback);
    let (kind, text) = failure(&tasks, call("unwritable", json!([]), json!({}))).await;
    assert!(kind == "TypeError" && text.contains("not JSON serializable"), "{kind}: {text}");
    let (kind, _) = failure(&tasks, call("add", json!([]), json!({"c": 1}))).await;
    assert_eq!(kind, "TypeError");
    let (kind, _) = failure(&tasks, call("absent", json!([]), json!({}))).await;
    assert_eq!(kind, "AttributeError");
    let Err(TaskError::Retry(retry)) = run(&tasks, call("again", json!([]), json!({}))).await
    else {
        panic!("retries")
    };
    assert_eq!(retry.countdown, Some(Duration::from_millis(2500)));
    assert_eq!(retry.because.map(|failure| failure.exc_type), Some("ValueError".to_owned()));
    assert_eq!(run(&tasks, call("ignored", json!([]), json!({}))).await, Err(TaskError::Ignore));
    // The process died in the call: said so, and the next call has another one.
    let (kind, text) = failure(&tasks, call("die", json!([]), json!({}))).await;
    assert!(
        kind == "WorkerLostError" && text.contains("7") && text.contains("out of luck"),
        "{text}"
    );
    assert_eq!(run(&tasks, call("add", json!([1]), json!({}))).await, Ok(json!(1)));
    tasks.close().await;
}

#[tokio::test]
async fn python_processes_are_kept_warm_and_replaced_when_worn() {
    let folder = tempfile::tempdir().expect("folder");
    let pid = async |tasks: &ExternalTasks| {
        run(tasks, call("pid", json!([]), json!({}))).await.expect("pid")
    };
    let warm = python(folder.path(), &json!({}));
    assert_eq!(pid(&warm).await, pid(&warm).await);
    let worn = python(folder.path(), &json!({"max_tasks_per_child": 2}));
    let all = [pid(&worn).await, pid(&worn).await, pid(&worn).await];
    assert!(all[0] == all[1] && all[1] != all[2], "{all:?}");
    let fat = python(folder.path(), &json!({"max_memory_per_child_kb": 1}));
    assert_ne!(pid(&fat).await, pid(&fat).await);
    let last = i32::try_from(pid(&warm).await.as_i64().expect("number")).expect("pid");
    warm.close().await;
    until("a closed pool has no process", || !is_alive(last)).await;
}

#[tokio::test]
async fn limits_reach_into_a_python_callable() {
    let folder = tempfile::tempdir().expect("folder");
    let ready = folder.path().join("ready");
    let tasks = python(folder.path(), &json!({}));
    let one = call("nap", json!([ready]), json!({}));
    let stop = one.soft_stop.clone();
    let (outcome, ()) = tokio::join!(run(&tasks, one), async {
        until("it naps", || pids(&ready).len() == 2).await;
        stop.cancel();
    });
    assert_eq!(outcome, Ok(json!("SoftTimeLimitExceeded")));
    let first = pids(&ready);
    fs::remove_file(&ready).expect("removed");
    let running = tokio::spawn({
        let (tasks, one) = (tasks.clone(), call("nap", json!([ready]), json!({})));
        async move { tasks.call(&one).await }
    });
    until("it naps again", || pids(&ready).len() == 2).await;
    let second = pids(&ready);
    assert_eq!(first[0], second[0], "the soft limit did not cost the process");
    running.abort();
    until("the tree is gone", || !second.iter().any(|pid| is_alive(*pid))).await;
}

/// Answers each request with the next of `answers` (status line and body); the last one stays.
async fn server(
    answers: Vec<(&'static str, &'static str)>,
) -> (String, Arc<AtomicU32>, Arc<std::sync::Mutex<Value>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let url = format!("http://{}/run", listener.local_addr().expect("address"));
    let (count, seen) = (Arc::new(AtomicU32::new(0)), Arc::new(std::sync::Mutex::new(Value::Null)));
    let (counted, last) = (Arc::clone(&count), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut text = Vec::new();
            let body = loop {
                let mut part = [0; 4096];
                let count = socket.read(&mut part).await.expect("request");
                text.extend_from_slice(&part[..count]);
                let whole = String::from_utf8_lossy(&text).into_owned();
                let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
                let head = head.to_ascii_lowercase();
                let length =
                    head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                if body.len() >= length.and_then(|n| n.parse().ok()).unwrap_or(0) {
                    assert!(head.contains("x-key: geheim"), "{head}");
                    break body.to_owned();
                }
            };
            *last.lock().expect("lock") = serde_json::from_str(&body).expect("JSON");
            let number = counted.fetch_add(1, Ordering::SeqCst) as usize;
            let (status, body) = answers[number.min(answers.len() - 1)];
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            socket.write_all(text.as_bytes()).await.expect("answer");
        }
    });
    (url, count, seen)
}

#[tokio::test]
async fn an_http_task_posts_its_call_and_maps_the_answer() {
    let (url, count, seen) = server(vec![
        ("200 OK", "{\"n\": 5}"),
        ("204 No Content", ""),
        ("503 Service Unavailable\r\nretry-after: 7", "busy"),
        ("429 Too Many Requests", "slow down"),
        ("500 Internal Server Error", "oops"),
        ("200 OK", "<html>"),
    ])
    .await;
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address");
    let headers = json!({"x-key": "geheim"});
    let tasks = tasks(json!({
        "web": {"http": url, "headers": headers},
        "away": {"http": format!("http://user:geheim@{free}/x")},
    }));
    let one = || call("web", json!([1, "a"]), json!({"k": true}));
    assert_eq!(run(&tasks, one()).await, Ok(json!({"n": 5})));
    let body =
        json!({"id": "id-1", "task": "web", "args": [1, "a"], "kwargs": {"k": true}, "retries": 0});
    assert_eq!(*seen.lock().expect("lock"), body);
    assert_eq!(run(&tasks, one()).await, Ok(Value::Null));
    let Err(TaskError::Retry(retry)) = run(&tasks, one()).await else { panic!("retries") };
    assert_eq!(retry.countdown, Some(Duration::from_secs(7)));
    let mut registry = Tasks::default();
    tasks.register(&mut registry);
    let policy = &registry.get("web").expect("registered").options().retry;
    let (kind, text) = failure(&tasks, one()).await;
    assert!(policy.covers(&kind) && text.contains("slow down"), "{kind}: {text}");
    let (kind, text) = failure(&tasks, one()).await;
    assert!(!policy.covers(&kind) && text.contains("oops"), "{kind}: {text}");
    let (kind, text) = failure(&tasks, one()).await;
    assert!(!policy.covers(&kind) && text.contains("not JSON"), "{kind}: {text}");
    let (kind, text) = failure(&tasks, call("away", json!([]), json!({}))).await;
    assert!(policy.covers(&kind) && !text.contains("geheim"), "{kind}: {text}");
    assert_eq!(count.load(Ordering::SeqCst), 6);
}
