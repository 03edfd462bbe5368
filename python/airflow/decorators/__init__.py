"""`@dag`, `@task` and `@task_group`."""

from airflow._core.dag import dag
from airflow._core.taskflow import setup, task, task_group, teardown

__all__ = ["dag", "setup", "task", "task_group", "teardown"]
