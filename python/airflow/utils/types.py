"""Types of runs."""

from airflow._core.rules import DagRunType

__all__ = ["DagRunType"]
