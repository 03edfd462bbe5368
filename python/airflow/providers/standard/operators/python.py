"""Operators by their provider path (3.x)."""

from airflow._core.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow._core.runtime import get_current_context

__all__ = ["BranchPythonOperator", "PythonOperator", "ShortCircuitOperator", "get_current_context"]
