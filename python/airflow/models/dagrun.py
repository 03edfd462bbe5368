"""`DagRun` by its module path."""

from airflow._core.runs import DagRun

__all__ = ["DagRun"]
