"""A branch: on weekends the report is short, on other days it is complete."""

from datetime import datetime

from airflow import DAG
from airflow.decorators import task
from airflow.operators.bash import BashOperator
from airflow.operators.empty import EmptyOperator
from airflow.utils.task_group import TaskGroup
from airflow.utils.trigger_rule import TriggerRule

with DAG(
    "example_branching",
    schedule="0 6 * * *",
    start_date=datetime(2024, 1, 1),
    catchup=False,
    tags=["example"],
) as dag:

    @task.branch
    def choose(data_interval_start):
        return "short_report" if data_interval_start.weekday() >= 5 else "full_report"

    short = BashOperator(task_id="short_report", bash_command="echo 'short report for {{ ds }}'")

    with TaskGroup("full_report") as full:
        for part in ("sales", "stock"):
            BashOperator(task_id=part, bash_command=f"echo '{part} on {{{{ ds }}}}'")

    publish = EmptyOperator(task_id="publish", trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)

    choose() >> [short, full] >> publish
