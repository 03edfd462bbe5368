"""Operators by their 2.x path."""

from airflow._core.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow._core.runtime import get_current_context
from airflow._core.taskflow import task

__all__ = [
    "BranchPythonOperator",
    "PythonOperator",
    "ShortCircuitOperator",
    "get_current_context",
    "task",
]
