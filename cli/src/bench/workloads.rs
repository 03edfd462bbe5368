//! The DAG file of `bench hop`.

/// Chains of `tasks` tasks and a fan 1 → `fan_out` → 1, with bash and with Python tasks.
pub(crate) fn dag_file(tasks: u32, fan_out: u32) -> String {
    format!(
        r#"
from datetime import datetime
from airflow import DAG
from airflow.models.baseoperator import chain
from airflow.operators.bash import BashOperator
from airflow.operators.python import PythonOperator

def nothing():
    pass

def bash(name):
    return BashOperator(task_id=name, bash_command="true")

def python(name):
    return PythonOperator(task_id=name, python_callable=nothing)

for kind, make in [("bash", bash), ("python", python)]:
    with DAG(f"bench_chain_{{kind}}", schedule=None, start_date=datetime(2024, 1, 1),
             is_paused_upon_creation=False, max_active_tasks=100000):
        chain(*[make(f"t{{i:04}}") for i in range({tasks})])
    with DAG(f"bench_fan_{{kind}}", schedule=None, start_date=datetime(2024, 1, 1),
             is_paused_upon_creation=False, max_active_tasks=100000):
        first, last = make("first"), make("last")
        first >> [make(f"m{{i:05}}") for i in range({fan_out})] >> last
"#
    )
}
