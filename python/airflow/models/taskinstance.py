"""`TaskInstance` by its module path."""

from airflow._core.runs import TaskInstance

__all__ = ["TaskInstance"]
