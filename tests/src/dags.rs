//! DAG files of the tests: real Python, in the spellings that people have.

/// The old-style ETL: 1.10 imports, `days_ago`, three BashOperators. Not scheduled; each task writes
/// to the ledger.
pub fn etl(ledger: &str) -> String {
    format!(
        r#"
from airflow import DAG
from airflow.operators.bash_operator import BashOperator
from airflow.utils.dates import days_ago

default_args = {{"owner": "data", "retries": 1}}
dag = DAG("etl", default_args=default_args, schedule_interval=None, start_date=days_ago(2),
          max_active_runs=16, concurrency=64)

def say(word):
    return "echo etl {{{{ run_id }}}} {{{{ task.task_id }}}} " + word + " >> {ledger}"

extract = BashOperator(task_id="extract", bash_command=say("done"), dag=dag)
transform = BashOperator(task_id="transform", bash_command=say("done"), dag=dag)
load = BashOperator(task_id="load", bash_command=say("done"), dag=dag)
extract >> transform >> load
"#
    )
}

/// 1 → `width` → 1, each task writing to the ledger.
pub fn fan_out(width: u32, ledger: &str) -> String {
    format!(
        r#"
from datetime import datetime
from airflow import DAG
from airflow.operators.bash import BashOperator

with DAG("fan", schedule=None, start_date=datetime(2024, 1, 1), max_active_runs=20, max_active_tasks=1000):
    def task(name):
        return BashOperator(task_id=name, bash_command="echo fan {{{{ run_id }}}} " + name + " done >> {ledger}")
    first, last = task("first"), task("last")
    first >> [task(f"mid_{{i}}") for i in range({width})] >> last
"#
    )
}

/// Every trigger rule behind a success, a failure and a skip, plus a branch.
pub const RULES: &str = r#"
from datetime import datetime
from airflow import DAG
from airflow.exceptions import AirflowSkipException
from airflow.operators.bash import BashOperator
from airflow.operators.empty import EmptyOperator
from airflow.operators.python import BranchPythonOperator, PythonOperator

RULES = ["all_success", "all_failed", "all_done", "all_skipped", "one_success", "one_failed", "one_done",
         "none_failed", "none_failed_min_one_success", "none_skipped", "all_done_min_one_success",
         "all_done_setup_success", "always"]

def skip():
    raise AirflowSkipException("not today")

with DAG("rules", schedule=None, start_date=datetime(2024, 1, 1), max_active_tasks=64) as dag:
    good = BashOperator(task_id="good", bash_command="true")
    bad = BashOperator(task_id="bad", bash_command="exit 1")
    skipped = PythonOperator(task_id="skipped", python_callable=skip)
    branch = BranchPythonOperator(task_id="branch", python_callable=lambda: "left")
    left, right = EmptyOperator(task_id="left"), EmptyOperator(task_id="right")
    branch >> [left, right]
    join = EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")
    [left, right] >> join
    for rule in RULES:
        [good, bad, skipped] >> BashOperator(task_id=rule, bash_command="true", trigger_rule=rule)
        [good, skipped] >> BashOperator(task_id="nofail_" + rule, bash_command="true", trigger_rule=rule)
"#;

/// What Airflow makes of [`RULES`] (trigger rule tables of Airflow 3.3).
pub fn rules_expected() -> Vec<(&'static str, &'static str)> {
    vec![
        ("good", "success"),
        ("bad", "failed"),
        ("skipped", "skipped"),
        ("branch", "success"),
        ("left", "success"),
        ("right", "skipped"),
        ("join", "success"),
        // Upstreams: one success, one failure, one skip.
        ("all_success", "upstream_failed"),
        ("all_failed", "skipped"),
        ("all_done", "success"),
        ("all_skipped", "skipped"),
        ("one_success", "success"),
        ("one_failed", "success"),
        ("one_done", "success"),
        ("none_failed", "upstream_failed"),
        ("none_failed_min_one_success", "upstream_failed"),
        ("none_skipped", "skipped"),
        ("all_done_min_one_success", "skipped"),
        ("all_done_setup_success", "success"),
        ("always", "success"),
        // Upstreams: one success, one skip.
        ("nofail_all_success", "skipped"),
        ("nofail_all_failed", "skipped"),
        ("nofail_all_done", "success"),
        ("nofail_all_skipped", "skipped"),
        ("nofail_one_success", "success"),
        ("nofail_one_failed", "skipped"),
        ("nofail_one_done", "success"),
        ("nofail_none_failed", "success"),
        ("nofail_none_failed_min_one_success", "success"),
        ("nofail_none_skipped", "skipped"),
        ("nofail_all_done_min_one_success", "skipped"),
        ("nofail_all_done_setup_success", "success"),
        ("nofail_always", "success"),
    ]
}

/// One task per queue, `width` each; every task waits a moment.
pub fn queues(queues: &[&str], width: u32, seconds: &str, ledger: &str) -> String {
    let names: Vec<String> = queues.iter().map(|queue| format!("{queue:?}")).collect();
    format!(
        r#"
from datetime import datetime
from airflow import DAG
from airflow.operators.bash import BashOperator

with DAG("queued", schedule=None, start_date=datetime(2024, 1, 1), max_active_tasks=1000) as dag:
    for queue in [{names}]:
        for i in range({width}):
            name = f"{{queue}}_{{i}}"
            BashOperator(task_id=name, queue=queue, bash_command=
                "echo queued {{{{ run_id }}}} " + name + " begin >> {ledger}; sleep {seconds}; "
                "echo queued {{{{ run_id }}}} " + name + " done >> {ledger}")
"#,
        names = names.join(", ")
    )
}
