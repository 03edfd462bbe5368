//! Python attempts in the real task host.

mod support;

use serde_json::json;
use support::{Rig, bash_with, is_alive, pid_in, python, until};
use tradewind_proto::state::OutcomeState;

const DAG: &str = r#"
import os, signal, subprocess, time
from datetime import datetime
from airflow import DAG
from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.operators.bash import BashOperator
from airflow.operators.python import BranchPythonOperator, PythonOperator

def value():
    print("hello from python", os.environ["TRACEPARENT"][:3])
    return {"n": 7}

def pull(ti):
    return ti.xcom_pull(task_ids="value")["n"] + 1

def boom():
    raise ValueError("no luck")

def never():
    raise AirflowFailException("not again")

def skip():
    raise AirflowSkipException("not today")

def hang(path):
    child = subprocess.Popen(["setsid", "sleep", "300"])
    with open(path + ".tmp", "w") as out:
        out.write(f"{child.pid}")
    os.rename(path + ".tmp", path)
    time.sleep(300)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def big():
    return "x" * 300000

with DAG("demo", start_date=datetime(2026, 1, 1), schedule=None):
    value_ = PythonOperator(task_id="value", python_callable=value)
    value_ >> PythonOperator(task_id="pull", python_callable=pull)
    PythonOperator(task_id="boom", python_callable=boom)
    PythonOperator(task_id="never", python_callable=never)
    PythonOperator(task_id="skip", python_callable=skip)
    PythonOperator(task_id="die", python_callable=die)
    PythonOperator(task_id="big", python_callable=big)
    PythonOperator(task_id="hang", python_callable=hang, op_args=[os.path.join(os.path.dirname(__file__), "pid")])
    branch = BranchPythonOperator(task_id="branch", python_callable=lambda: "left")
    branch >> [PythonOperator(task_id="left", python_callable=value), PythonOperator(task_id="right", python_callable=value)]
    BashOperator(task_id="t", bash_command="echo {{ macros.datetime(2026, 1, 2).strftime('%j') }}")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn values_go_out_and_come_in() {
    let mut rig = Rig::with_dag(DAG).await;
    let done = rig.run_one(python("value")).await;
    assert_eq!(done.state(), OutcomeState::Success, "{}", done.message);
    assert_eq!(done.xcoms[0].key, "return_value");
    let value: serde_json::Value = serde_json::from_str(&done.xcoms[0].json).expect("json");
    assert_eq!(value, json!({"n": 7}));
    let log = rig.api.log(done.attempt_id());
    assert!(log.contains("stdout hello from python 00-\n"), "{log}");
    let key = ("value".to_owned(), "return_value".to_owned());
    rig.api.xcoms.lock().expect("lock").insert(key, value);
    let done = rig.run_one(python("pull")).await;
    assert_eq!(
        (done.state(), done.xcoms[0].json.as_str()),
        (OutcomeState::Success, "8"),
        "{}",
        done.message
    );
    let done = rig.run_one(python("branch")).await;
    assert_eq!(
        (done.state(), done.skip.as_slice()),
        (OutcomeState::Success, &["right".to_owned()][..]),
        "{}",
        done.message
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_why() {
    let mut rig = Rig::with_dag(DAG).await;
    for (task, state, text) in [
        ("boom", OutcomeState::Failed, "no luck"),
        ("never", OutcomeState::FailedNoRetry, "not again"),
        ("skip", OutcomeState::Skipped, "not today"),
        ("die", OutcomeState::Failed, "SIGKILL"),
        ("big", OutcomeState::Failed, "262144"),
        ("none", OutcomeState::Failed, "'none'"),
    ] {
        let done = rig.run_one(python(task)).await;
        assert_eq!(done.state(), state, "{task}: {}", done.message);
        assert!(done.message.contains(text), "{task}: {}", done.message);
    }
    let done = rig.run_one(python("boom")).await;
    let log = rig.api.log(done.attempt_id());
    assert!(log.contains("ValueError: no luck"), "{log}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_fails_the_attempt_with_its_error() {
    let mut rig = Rig::with_dag("import nonexistent_module_of_mine").await;
    let done = rig.run_one(python("value")).await;
    assert_eq!(done.state(), OutcomeState::Failed);
    assert!(done.message.contains("nonexistent_module_of_mine"), "{}", done.message);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_kills_the_session_and_what_left_it() {
    let mut rig = Rig::with_dag(DAG).await;
    let mut task = python("hang");
    task["execution_timeout"] = json!(2.0);
    rig.submit(task).await;
    let child = pid_in(&rig.dags.path().join("pid")).await;
    assert!(is_alive(child));
    let done = rig.outcome().await;
    assert_eq!(done.state(), OutcomeState::TimedOut, "{}", done.message);
    let attempt = i32::try_from(done.pid).expect("pid");
    assert!(!is_alive(child) && !is_alive(attempt));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_killed_by_force_fails_what_it_ran_and_is_replaced() {
    let mut rig = Rig::with_dag(DAG).await;
    rig.submit(python("hang")).await;
    let child = pid_in(&rig.dags.path().join("pid")).await;
    let host = host_pid(&rig.handle.instance().to_string());
    let killed = std::process::Command::new("kill").args(["-9", &host.to_string()]).status();
    assert!(killed.expect("kill").success());
    let done = rig.outcome().await;
    assert_eq!(done.state(), OutcomeState::Failed);
    assert!(done.message.contains("Python host died (signal: 9"), "{}", done.message);
    until("its processes are gone", || !is_alive(child)).await;
    let done = rig.run_one(python("value")).await;
    assert_eq!(done.state(), OutcomeState::Success, "{}", done.message);
    rig.stop().await;
}

/// The root of the host of one worker: its parent is this process.
fn host_pid(instance: &str) -> i32 {
    let own = std::process::id();
    let is_root = |pid: &i32| {
        let read = |file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        let environ = String::from_utf8_lossy(&read("environ")).into_owned();
        stat.rsplit_once(") S ").is_some_and(|(_, rest)| rest.starts_with(&format!("{own} ")))
            && environ.contains(instance)
    };
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(is_root).expect("a host")
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_that_rust_cannot_render_go_to_python() {
    let mut rig = Rig::with_dag(DAG).await;
    let source = "echo {{ nonexistent_name_of_mine }}";
    let task =
        bash_with(source, json!({"templates": [{"path": ["bash_command"], "source": source}]}));
    let done = rig.run_one(task).await;
    assert_eq!(done.state(), OutcomeState::Failed);
    assert!(done.message.contains("template field bash_command"), "{}", done.message);
    assert!(done.message.contains("nonexistent_name_of_mine"), "{}", done.message);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_renders_what_jinja2_can() {
    let mut rig = Rig::with_dag(DAG).await;
    let source = "echo {{ macros.uuid.UUID(int=7) }}";
    let task =
        bash_with(source, json!({"templates": [{"path": ["bash_command"], "source": source}]}));
    let done = rig.run_one(task).await;
    let jinja = std::process::Command::new("python3").args(["-c", "import jinja2"]).output();
    if jinja.expect("python3").status.success() {
        assert_eq!(done.state(), OutcomeState::Success, "{}", done.message);
        assert_eq!(done.xcoms[0].json, "\"00000000-0000-0000-0000-000000000007\"");
    } else {
        assert!(done.message.contains("template field bash_command"), "{}", done.message);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_stops_the_host() {
    let mut rig = Rig::with_dag(DAG).await;
    rig.run_one(python("value")).await;
    let host = host_pid(&rig.handle.instance().to_string());
    rig.stop().await;
    assert!(!is_alive(host));
}
